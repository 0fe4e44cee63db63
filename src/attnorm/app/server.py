"""Serves the page on a port of this machine."""

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attnorm.app.model_list import Model, ModelList
from attnorm.data.builtin import example_images
from attnorm.data.decode import pillow_quiet
from attnorm.errors import UserError

LARGEST_UPLOAD = 100 << 20  # bytes; the number of pixels is checked when the image is opened
EXAMPLES, EXAMPLE_SIZE = 4, 256
VISITORS = 200  # whose state is kept


@contextmanager
def served(
    models: Sequence[Model], host: str = "127.0.0.1", port: int = 7860, device: str = "cpu", share: bool = False
) -> Iterator[tuple[str, str | None]]:
    """Serves the page in this context, and removes its visitors' files at the end.

    Yields the address on this machine, and that of the tunnel or None; UserError if the address cannot be used.
    """
    check_free(host, port)
    with tempfile.TemporaryDirectory(prefix="attnorm-page-") as folder, pillow_quiet():
        # Gradio reads both from the environment; they stay set, because a process serves one page.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder}
        from attnorm.app.page import build_page, look  # slow to import

        page = build_page(ModelList(models, device), list(example_images(EXAMPLE_SIZE, EXAMPLES)))
        try:
            _, local, public = page.launch(
                server_name=host,
                server_port=port,
                share=share,
                prevent_thread_lock=True,
                quiet=True,
                inbrowser=False,
                max_file_size=LARGEST_UPLOAD,
                state_session_capacity=VISITORS,
                allowed_paths=[folder],
                footer_links=["api"],
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                mcp_server=False,
                pwa=False,
                **look(),
            )
            yield local, public
        finally:
            page.close(verbose=False)


def check_free(host: str, port: int) -> None:
    """Raises a UserError if the page cannot be served at this address."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port must be from 1 to 65535, got {port}")
    try:
        [family, kind, protocol, _, address], *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that just stopped does not count
            probe.bind(address)
    except OSError as error:  # in use, needs root, or no such host
        problem = f"cannot serve at port {port} of {host} ({error.strerror})"
        raise UserError(f"{problem}: choose another with --port or --host") from error
