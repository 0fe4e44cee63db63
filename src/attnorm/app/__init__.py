"""The web page: inpaint, generate, interpolate, and look inside the layer. It needs the extra `app`.

    model_list.py      the models at hand, each loaded once and used by one visitor at a time
    masks.py      masks: painted at the editor's size, kept at the image's, grown and shrunk
    images.py   uploads in; images of a size for the screen, and files to download, out
    painting.py   what an editor shows of one visitor's image, and completing it
    drawing.py    images, interpolations and layouts drawn by the models
    *_tab.py      one tab each: its controls, and which of the functions above each of them calls
    page.py       the tabs together, and how they look
    server.py     the page on a port of this machine

Nothing of a visitor is kept in the modules or models: it is in Gradio's state of that visitor's page.
"""
