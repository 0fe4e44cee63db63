// The next click closes Gradio's error messages: their cause may be gone.
document.addEventListener('pointerdown', ({target}) => target.closest('.toast-wrap')
    || document.querySelectorAll('.toast-body.error .toast-close').forEach(close => close.click()), true);
