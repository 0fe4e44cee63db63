// An error message of Gradio's goes with the next thing that is done: its cause may be gone.
document.addEventListener('pointerdown', ({target}) => target.closest('.toast-wrap')
    || document.querySelectorAll('.toast-body.error .toast-close').forEach(close => close.click()), true);
