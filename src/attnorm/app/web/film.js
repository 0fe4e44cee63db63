// Plays the frames of an interpolation forward and back, until the slider is moved; it then shows one frame.

const TICK = 1000 / 15;
let direction = 1, isPlaying = !matchMedia('(prefers-reduced-motion: reduce)').matches;

function turnTo(frame) {
    element.querySelectorAll('.film img').forEach((image, index) => image.hidden = index !== frame);
}

setInterval(() => {
    const slider = element.querySelector('input');
    if (!slider || !isPlaying || slider.offsetParent === null) return;
    if (Number(slider.value) + direction > slider.max || Number(slider.value) + direction < 0) direction = -direction;
    slider.value = Number(slider.value) + direction;
    turnTo(Number(slider.value));
}, TICK);
element.addEventListener('input', event => {
    isPlaying = false;
    turnTo(Number(event.target.value));
});
element.addEventListener('click', ({target}) => isPlaying = target.matches('button') ? !isPlaying : isPlaying);
