// Open, paint, complete, continue. A request has the image's id and the mask as they were at the click, and the answer has
// a new image. Answers for an image that is no longer open are ignored. Gradio defines `element`, `props` and `server`.

const root = element.querySelector('.workspace'), $ = query => root.querySelector(query);
const field = name => $(`[data-field="${name}"]`), button = name => $(`[data-do="${name}"]`);
const canvas = $('canvas'), status = $('.status'), MOST_STEPS = 100, LARGE = 512;
const KEYS = {'B, R, L': 'brush, rectangle, lasso', 'E': 'erase, or paint again', '[ ] or Alt+wheel': 'size of the brush',
    'Wheel, + −': 'zoom', '0 (zero)': 'fit the view', 'Space or H': 'move the view', 'Arrows, on the image': 'move the view',
    'Enter': 'complete', 'Esc': 'cancel', 'C, held': 'show the image before', 'Ctrl+Z': 'undo',
    'Ctrl+Shift+Z, Ctrl+Y': 'redo', '?': 'these keys'};

// Steps of the history do not change. One is {image, runs: its mask, result, made: the mask of the result}.
const steps = [];
let at = -1, current = null, running = null, opening = 0, families = 0;
const editor = new Editor(canvas, changed, size => showSize(size));

function say(text, kind = '') {
    status.textContent = text;
    status.className = `status ${kind}`;
}

async function ask(name, request) {  // Gradio's client returns nothing after a failed call
    const answer = await server[name](request);
    return answer ?? {error: 'The server did not answer: it may have stopped, or the file is too large.'};
}

const withFile = (file, data) => ({binary: true, data: {...data, file}});

async function loaded(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
}

async function received({view, ...image}) {
    return {...image, element: await loaded(view)};
}

// The history.

function push(step) {
    steps.splice(at + 1, Infinity, step);
    if (steps.length > MOST_STEPS) steps.shift();
    show(steps.length - 1);
}

function show(index) {
    const step = steps[at = index], before = current;
    current = step;
    if (running && running.image !== step.image) cancel();
    if (before?.image.family !== step.image.family) editor.open(step.image);
    editor.abandon();
    editor.before = step.image.element;
    editor.after = step.result?.element ?? null;
    editor.hidesPaint = Boolean(step.result) && step.runs === step.made;
    if (step.result !== before?.result) field('split').value = editor.split = 0;
    editor.mask.restore(step.runs);
    editor.repaint();
    showSize(editor.size);
    showLayout();
    refresh();
}

function refresh() {
    const isOpen = Boolean(current), result = current?.result;
    root.dataset.stage = isOpen ? 'open' : 'empty';
    for (const name of ['complete', 'clear', 'in', 'out', 'fit', 'grow', 'shrink', 'mask-save', 'mask-open'])
        button(name).disabled = !isOpen;
    button('undo').disabled = at < 1;
    button('redo').disabled = at >= steps.length - 1;
    button('complete').disabled = !isOpen || Boolean(running);
    button('complete').textContent = running ? 'Completing…' : 'Complete';
    button('cancel').hidden = !running;
    $('.result').hidden = !result && !current?.image.made;
    $('.compare').hidden = !result;
    button('continue').hidden = !result;
    const {format, width, height, name} = current?.image ?? {}, own = $('[data-own]');
    own.hidden = !format || format === 'PNG';
    own.dataset.format = format;
    own.textContent = `Download ${format}`;
    $('[data-lossy]').hidden = format !== 'JPEG';
    $('[data-choice="mode"]').hidden = !isOpen || Math.max(width, height) <= LARGE;
    canvas.setAttribute('aria-label', !isOpen ? 'No image is open' : `${name}, ${width}×${height} pixels, `
        + (result ? 'completed' : 'with its mask'));
}

function changed() {
    say('');
    push({...current, runs: editor.mask.runs()});
    if (!field('auto').checked) return;
    cancel();
    complete();
}

// Images.

async function open(name, request, title) {
    const ticket = ++opening;
    say(`Opening ${title}…`);
    const answer = await ask(name, request);
    if (ticket !== opening) return false;  // another image was opened meanwhile
    if (answer.error) return say(answer.error, 'error');
    const image = await received(answer.image), mask = Mask.of(image);
    if (answer.mask) mask.read(await loaded(answer.mask));
    if (ticket !== opening) return false;
    push({image: {...image, family: ++families}, runs: mask.runs(), result: null, made: null});
    $('.opener').open = false;
    say(answer.mask ? 'The mask is ready: paint more, or complete it.' : 'Paint over what should be replaced.');
    canvas.focus({preventScroll: true});
    return true;
}

const openFile = file => open('open_image', withFile(file, {}), file.name);

async function loadMask(file) {
    const {image} = current;
    const answer = await ask('read_mask', withFile(file, {image: image.id}));
    if (current.image !== image) return;
    if (answer.error) return say(answer.error, 'error');
    editor.mask.read(await loaded(answer.mask));
    changed();
}

// Runs.

function maskToSend(runs) {  // the box around its marked pixels, as PNG
    const mask = new Mask(editor.mask.width, editor.mask.height);
    mask.restore(runs);
    const {data, width, height} = mask, row = y => data.subarray(y * width, (y + 1) * width);
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (let y = 0; y < height; y++) {
        const first = row(y).indexOf(1);
        if (first < 0) continue;
        [left, right] = [Math.min(left, first), Math.max(right, row(y).lastIndexOf(1) + 1)];
        [top, bottom] = [Math.min(top, y), y + 1];
    }
    return {png: mask.canvas([left, top, right, bottom]).toDataURL('image/png'), left, top, width, height};
}

async function complete() {
    if (!current || running) return;
    const marked = editor.mask.count();
    if (!marked) return say('Nothing is marked: paint over what should be replaced.', 'error');
    if (marked === editor.mask.data.length) return say('Everything is marked: erase some of the mask.', 'error');
    const start = performance.now(), {image, runs} = current, model = field('model').value;
    const run = running = {id: `${Math.random()}`.slice(2), image};
    const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    const clock = setInterval(() => running === run && (button('complete').textContent = `Completing… ${seconds()}`), 100);
    say('');
    refresh();
    let answer, result;
    try {
        answer = await ask('complete', {
            image: image.id, run: run.id, mask: maskToSend(runs), model, stage: field('stage').value, mode: field('mode').value});
        if (answer.image) result = await received(answer.image);
    } finally {
        clearInterval(clock);
    }
    if (running !== run) return;  // cancelled
    running = null;
    if (answer.error) {
        say(answer.error, 'error');
        return refresh();
    }
    Object.assign(result, {family: image.family, made: true, model});
    push({...current, result, made: runs});
    editor.drawNow();
    requestAnimationFrame(() => say(`Done in ${seconds()}: ${answer.report}.`));
}

function cancel() {
    if (!running) return;
    server.cancel({run: running.id});
    running = null;
    say('Cancelled.');
    refresh();
}

async function save(format) {
    const shown = current.result ?? current.image;
    say(`Writing ${format}…`);
    const answer = await ask('save', {image: shown.id, format});
    if (answer.error) return say(answer.error, 'error');
    const {root: base = '', api_prefix = '/gradio_api'} = window.gradio_config ?? {};
    download(`${base}${api_prefix}/file=${answer.path}`, answer.name);
    say(`${answer.name} is downloaded.`);
}

function download(href, name) {
    Object.assign(document.createElement('a'), {href, download: name}).click();
}

async function showLayout() {
    const {result, made} = current, isOn = field('layout').checked;
    $('.layout').hidden = !result || !props.models.find(model => model.name === result.model)?.layout;
    editor.layout = isOn && result?.layout || null;
    $('.opacity').hidden = !isOn;
    $('.legend').innerHTML = isOn && result?.legend || '';
    editor.draw();
    if (!isOn || !result || result.layout || $('.layout').hidden) return;
    const answer = await ask('layout', {image: result.id, mask: maskToSend(made), model: result.model});
    if (answer.error) return say(answer.error, 'error');
    Object.assign(result, {layout: await loaded(answer.layout), legend: answer.legend});
    if (current.result === result) showLayout();
}

// Controls.

function use(tool) {
    editor.tool = tool;
    editor.draw();
    for (const each of root.querySelectorAll('[data-tool]')) each.setAttribute('aria-pressed', each.dataset.tool === tool);
    canvas.dataset.tool = tool;
}

function showSize(size) {  // on a logarithmic slider, because small sizes need finer steps
    field('size').value = Math.log(size) / Math.log(Math.max(editor.width ?? 100, editor.height ?? 100) / 2) * 100;
    $('.size output').textContent = `${size} px`;
}

function grow(sign) {
    const pixels = Number(field('pixels').value);
    if (!(pixels >= 1 && pixels <= 64)) return say('Give a number of pixels from 1 to 64.', 'error');
    editor.mask.grow(sign * Math.round(pixels * editor.scale) || sign);
    changed();
}

const ACTIONS = {
    complete, cancel,
    undo: () => at > 0 && (say(''), show(at - 1)),
    redo: () => at < steps.length - 1 && (say(''), show(at + 1)),
    clear: () => { editor.mask.data.fill(0); changed(); },
    continue: () => {
        push({image: current.result, runs: Mask.of(current.image).runs(), result: null, made: null});
        say('Paint over what else should be replaced.');
    },
    erase: () => button('erase').setAttribute('aria-pressed', editor.erasing = !editor.erasing),
    in: () => editor.zoomBy(1.4), out: () => editor.zoomBy(1 / 1.4), fit: () => editor.fit(),
    grow: () => grow(1), shrink: () => grow(-1),
    help: () => $('dialog').showModal(),
    open: () => $('[data-file="image"]').click(),
    'mask-open': () => $('[data-file="mask"]').click(),
    'mask-save': () => editor.mask.canvas().toBlob(blob => {
        const url = URL.createObjectURL(blob);
        download(url, `${current.image.name}-mask.png`);
        setTimeout(() => URL.revokeObjectURL(url), 10000);
    }),
    save: event => save(event.target.dataset.format),
};

root.addEventListener('click', event => {
    const pressed = event.target.closest('button');
    if (pressed?.dataset.tool) use(pressed.dataset.tool);
    if (pressed?.dataset.do) ACTIONS[pressed.dataset.do]?.(event);
    if (pressed?.dataset.example)
        open('open_example', {number: Number(pressed.dataset.example)}, 'the example').then(isOpen => isOpen && complete());
    if (pressed?.closest('.tools') && event.detail) canvas.focus({preventScroll: true});  // so that Space pans
});
for (const input of root.querySelectorAll('input[type=file]'))
    input.addEventListener('change', () => {
        const [file] = input.files;
        input.value = '';  // so that the same file can be chosen again
        if (file) input.dataset.file === 'mask' ? loadMask(file) : openFile(file);
    });
field('size').addEventListener('input', () => current
    && editor.resize(Math.exp(field('size').value / 100 * Math.log(Math.max(editor.width, editor.height) / 2))));
field('split').addEventListener('input', () => { editor.split = Number(field('split').value); editor.draw(); });
field('opacity').addEventListener('input', () => { editor.opacity = field('opacity').value / 100; editor.draw(); });
field('layout').addEventListener('change', () => current && showLayout());

function seeBefore(isOn) {
    editor.showsBefore = isOn && Boolean(current?.result);
    editor.draw();
}
for (const [type, isOn] of [['pointerdown', true], ['pointerup', false], ['pointerleave', false], ['blur', false]])
    button('before').addEventListener(type, () => seeBefore(isOn));
button('before').addEventListener('keydown', event => [' ', 'Enter'].includes(event.key) && seeBefore(true));
button('before').addEventListener('keyup', () => seeBefore(false));

// Keys, drop and paste, anywhere on the page while this tab is visible.

const isSeen = () => root.isConnected && root.offsetParent !== null && !$('dialog').open;

function hold(isHeld) {
    editor.isHeld = isHeld;
    canvas.classList.toggle('held', isHeld);
}

document.addEventListener('keydown', event => {
    const {key, target} = event;
    if (!isSeen() || target.closest?.('input:not([type=range], [type=checkbox]), textarea, select, [contenteditable]')) return;
    const isFree = target === canvas || target === document.body, command = event.ctrlKey || event.metaKey;
    const arrow = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]}[key];
    const letter = key.toLowerCase();
    let act = null;
    if (command && letter === 'z') act = event.shiftKey ? ACTIONS.redo : ACTIONS.undo;
    else if (command && letter === 'y') act = ACTIONS.redo;
    else if (command || event.altKey) return;
    else if (key === '?') act = ACTIONS.help;
    else if (!current) return;
    else if ('brlh'.includes(letter)) act = () => use({b: 'brush', r: 'rectangle', l: 'lasso', h: 'hand'}[letter]);
    else if (letter === 'e') act = ACTIONS.erase;
    else if (letter === 'c') act = () => seeBefore(true);
    else if (key === '[') act = () => editor.resize(editor.size / 1.15 - 0.5);
    else if (key === ']') act = () => editor.resize(Math.max(editor.size * 1.15, editor.size + 1));
    else if ('+=-−0'.includes(key)) act = {'0': ACTIONS.fit, '+': ACTIONS.in, '=': ACTIONS.in}[key] ?? ACTIONS.out;
    else if (key === 'Escape') act = () => editor.abandon() || cancel();
    else if (key === ' ' && isFree) act = () => hold(true);
    else if (key === 'Enter' && isFree) act = complete;
    else if (arrow && target === canvas) act = () => editor.panBy(...arrow);
    if (!act) return;
    event.preventDefault();
    act(event);
});
document.addEventListener('keyup', event => {
    if (event.key === ' ') hold(false);
    if (event.key.toLowerCase() === 'c') seeBefore(false);
});
window.addEventListener('blur', () => { hold(false); seeBefore(false); });

function take(files, event) {
    const file = [...files].find(each => each.type.startsWith('image/')) ?? files[0];
    if (!file) return;
    event.preventDefault();
    openFile(file);
}
for (const type of ['dragover', 'dragleave', 'drop'])
    document.addEventListener(type, event => {
        if (!isSeen() || !event.dataTransfer?.types.includes('Files')) return;
        root.classList.toggle('dropping', type === 'dragover');
        if (type === 'dragover') event.preventDefault();
        if (type === 'drop') take(event.dataTransfer.files, event);
    });
document.addEventListener('paste', event => isSeen() && take(event.clipboardData?.files ?? [], event));
window.addEventListener('pagehide', cancel);

props.models.forEach(({name, title}) => field('model').add(new Option(title, name)));
$('[data-choice="model"]').hidden = props.models.length < 2;
for (const [keys, meaning] of Object.entries(KEYS)) {
    const [term, text] = ['dt', 'dd'].map(tag => document.createElement(tag));
    [term.textContent, text.textContent] = [keys, meaning];
    $('dialog dl').append(term, text);
}
use('brush');
refresh();
