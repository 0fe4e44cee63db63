"""The web page: inpaint, generate, interpolate, and look inside the layer. It needs the extra `app`.

    shelf.py      the models at hand, each loaded once and used by one visitor at a time
    masks.py      holes: painted at the editor's size, kept at the picture's, grown and shrunk
    pictures.py   uploads in; pictures of a size for the screen, and files to download, out
    painting.py   what an editor shows of one visitor's picture, and completing it
    drawing.py    pictures, interpolations and layouts drawn by the models
    *_tab.py      one tab each: its controls, and which of the functions above each of them calls
    page.py       the tabs together, and how they look
    server.py     the page on a port of this machine

Nothing of a visitor is kept in the modules or models: it is in Gradio's state of that visitor's page.
"""
