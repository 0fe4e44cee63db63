"""The web page: inpaint, generate, interpolate, and look inside the layer. It needs the extra `app`.

    model_list.py   the models at hand, each loaded once, and one visitor at a time
    images.py       uploads in; images of a size for the screen, and files to download, out
    store.py        the images that are open, each under an id of its own
    workspace.py    what the canvas asks for: open, complete, cancel, save
    web/            the canvas: mask.js the mask, editor.js tools and view, workspace.js history and runs
    drawing.py      images, interpolations and layouts drawn by the models
    *_tab.py        one tab each: its controls, and which of the functions above each of them calls
    page.py         the tabs together, and how they look
    server.py       the page on a port of this machine

Nothing of a visitor is kept in the models. The canvas keeps its own history; the other tabs use Gradio's state.
"""
