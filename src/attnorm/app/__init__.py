"""The web page: inpaint, generate, interpolate, and look inside the layer. It needs the extra `app`.

    model_list.py   the models, each loaded once and used by one visitor at a time
    images.py       reads uploads, scales images for the screen, writes HTML and files to download
    store.py        the open images by id
    workspace.py    the server side of the canvas: open, complete, cancel, save
    web/            the canvas: mask.js has the mask, editor.js tools and view, workspace.js history and runs
    drawing.py      draws images, interpolations and layouts
    *_tab.py        one tab each: its controls and their actions
    page.py         the tabs and the theme
    server.py       serves the page at a port

The models keep no data of a visitor. The canvas keeps its own history; the other tabs use Gradio's state.
"""
