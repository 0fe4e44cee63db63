// A click on an example sends its number; the slider changes the opacity of the layout over the image.
element.addEventListener('click', ({target}) => {
    const pressed = target.closest('[data-example]');
    if (pressed) trigger('click', {number: pressed.dataset.example});
});
element.addEventListener('input', ({target}) => {
    element.querySelector('.overlay img + img').style.opacity = target.value / 100;
});
