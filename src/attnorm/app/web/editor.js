// The canvas: the image with its mask over it, tools to paint with, and a view that zooms and pans.

const PAINT = [255, 45, 120], PAINT_OPACITY = 0.6, MOST_ZOOM = 32;

class Editor {
    // Calls changed() after each finished stroke, and resized() when a key or the wheel changes the size of the brush.
    constructor(canvas, changed, resized) {
        Object.assign(this, {canvas, changed, resized, tool: 'brush', erasing: false, size: 24, split: 0, opacity: 0.55});
        this.context = canvas.getContext('2d');
        this.view = {zoom: 1, x: 0, y: 0};
        this.pointers = new Map();
        this.isFitted = true;
        new ResizeObserver(() => this.isFitted ? this.fit() : this.draw()).observe(canvas);
        for (const type of ['pointerdown', 'pointermove', 'pointerup', 'pointercancel', 'pointerleave'])
            canvas.addEventListener(type, event => this[type](event));
        canvas.addEventListener('wheel', event => this.wheel(event), {passive: false});
    }

    // Opens an image of {width, height} with an empty mask.
    open(image) {
        const {width, height} = image;
        Object.assign(this, {width, height, mask: Mask.of(image), stroke: null});
        this.paint = new OffscreenCanvas(this.mask.width, this.mask.height);
        this.size = Math.max(2, Math.round(Math.min(width, height) / 10));
        this.fit();
    }

    // Redraws the paint inside a box of the mask.
    repaint([left, top, right, bottom] = this.mask.box) {
        if (right <= left || bottom <= top) return;
        const pixels = new ImageData(right - left, bottom - top), words = new Uint32Array(pixels.data.buffer);
        const [red, green, blue] = PAINT, word = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
        let to = 0;
        for (let y = top; y < bottom; y++)
            for (let from = y * this.mask.width + left; from < y * this.mask.width + right; from++, to++)
                if (this.mask.data[from]) words[to] = word;
        this.paint.getContext('2d').putImageData(pixels, left, top);
        this.draw();
    }

    get scale() { return this.mask.width / this.width; }  // mask pixels per image pixel

    fit() {
        const {clientWidth, clientHeight} = this.canvas;
        if (!this.mask || !clientWidth) return;
        const zoom = Math.min(clientWidth / this.width, clientHeight / this.height);
        this.view = {zoom, x: (clientWidth - this.width * zoom) / 2, y: (clientHeight - this.height * zoom) / 2};
        this.isFitted = true;
        this.draw();
    }

    zoomBy(factor, [x, y] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
        const least = Math.min(this.canvas.clientWidth / this.width, this.canvas.clientHeight / this.height) / 2;
        const zoom = Math.min(Math.max(MOST_ZOOM, least), Math.max(least, this.view.zoom * factor));
        const ratio = zoom / this.view.zoom;
        this.view = {zoom, x: x - (x - this.view.x) * ratio, y: y - (y - this.view.y) * ratio};
        this.isFitted = false;
        this.draw();
    }

    panBy(dx, dy) {
        const {clientWidth, clientHeight} = this.canvas, {zoom} = this.view, rest = 40;  // pixels of the image that stay visible
        const within = (at, length, room) => Math.min(room - rest, Math.max(rest - length * zoom, at));
        this.view.x = within(this.view.x + dx, this.width, clientWidth);
        this.view.y = within(this.view.y + dy, this.height, clientHeight);
        this.isFitted = false;
        this.draw();
    }

    resize(size) {
        this.size = Math.round(Math.min(Math.max(this.width, this.height) / 2, Math.max(1, size)));
        this.resized(this.size);
        this.showsSize = true;
        clearTimeout(this.sizeTimer);
        this.sizeTimer = setTimeout(() => { this.showsSize = false; this.draw(); }, 900);
        this.draw();
    }

    place(event) {  // the place of a pointer on the canvas and in the image
        const box = this.canvas.getBoundingClientRect(), at = [event.clientX - box.left, event.clientY - box.top];
        return {at, point: [(at[0] - this.view.x) / this.view.zoom, (at[1] - this.view.y) / this.view.zoom]};
    }

    pointerdown(event) {
        if (!this.before || event.button > 1) return;
        this.canvas.focus({preventScroll: true});
        const {at, point} = this.place(event);
        this.pointers.set(event.pointerId, at);
        if (event.pointerType !== 'touch') event.preventDefault();
        try { this.canvas.setPointerCapture(event.pointerId); } catch { /* the pointer is already gone */ }
        if (this.pointers.size > 1) return this.abandon();  // two fingers zoom
        if (this.tool === 'hand' || this.isHeld || event.button === 1) return;
        this.stroke = {points: [point], erasing: this.erasing, pointer: event.pointerId, start: this.mask.data.slice()};
        this.extend(point);
    }

    pointermove(event) {
        if (!this.before) return;
        const {at, point} = this.place(event), from = this.pointers.get(event.pointerId);
        this.cursor = event.pointerType === 'touch' ? null : at;
        if (from && this.pointers.size === 2) {
            const [[, other]] = [...this.pointers].filter(([id]) => id !== event.pointerId);
            const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
            this.zoomBy(apart(at) / apart(from), [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2]);
            this.panBy((at[0] - from[0]) / 2, (at[1] - from[1]) / 2);
        } else if (from && this.stroke) {
            const events = event.getCoalescedEvents?.() ?? [];
            for (const each of events.length ? events : [event]) this.extend(this.place(each).point);
        } else if (from && this.pointers.size === 1) {
            this.panBy(at[0] - from[0], at[1] - from[1]);
        }
        if (from) this.pointers.set(event.pointerId, at);
        this.draw();
    }

    pointerup(event) {
        this.pointers.delete(event.pointerId);
        if (this.stroke?.pointer !== event.pointerId) return;
        const {points, erasing, start} = this.stroke;
        if (this.tool === 'rectangle' || this.tool === 'lasso') {
            const [[x0, y0], [x1, y1]] = [points[0], points.at(-1)];
            const corners = this.tool === 'lasso' ? points : [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
            this.repaint(this.mask.polygon(corners.map(p => p.map(each => each * this.scale)), erasing ? 0 : 1));
        }
        this.stroke = null;
        this.draw();
        if (this.mask.differs(start)) this.changed();
    }

    pointercancel(event) {  // the browser scrolls, or a second finger touches
        this.pointers.delete(event.pointerId);
        this.abandon();
    }

    pointerleave() {
        this.cursor = null;
        this.draw();
    }

    extend(point) {
        const {points, erasing} = this.stroke, last = points.at(-1);
        points.push(point);
        if (this.tool !== 'brush') return this.draw();
        const [from, to] = [last, point].map(p => p.map(each => each * this.scale));
        this.repaint(this.mask.line(from, to, this.size / 2 * this.scale, erasing ? 0 : 1));
    }

    abandon() {  // undoes an unfinished stroke
        if (!this.stroke) return false;
        this.mask.data.set(this.stroke.start);
        this.stroke = null;
        this.repaint();
        return true;
    }

    wheel(event) {
        if (!this.before) return;
        event.preventDefault();
        const step = event.deltaY || event.deltaX;  // some systems scroll sideways while Alt is held
        if (event.altKey) this.resize(step < 0 ? Math.max(this.size * 1.15, this.size + 1) : this.size / 1.15 - 0.5);
        else this.zoomBy(Math.exp(-step / (event.deltaMode ? 15 : 400)), this.place(event).at);
    }

    draw() {
        this.drawing ??= requestAnimationFrame(() => { this.drawing = null; this.drawNow(); });
    }

    drawNow() {
        const {canvas, context, view} = this, ratio = devicePixelRatio || 1;
        const [width, height] = [canvas.clientWidth, canvas.clientHeight];
        if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
        if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.clearRect(0, 0, canvas.width, canvas.height);
        if (!this.before) return;
        context.setTransform(view.zoom * ratio, 0, 0, view.zoom * ratio, view.x * ratio, view.y * ratio);
        context.imageSmoothingEnabled = view.zoom < 4;  // closer than that, single pixels are shown
        context.imageSmoothingQuality = 'high';
        const put = image => context.drawImage(image, 0, 0, this.width, this.height);
        put(this.after && !this.showsBefore ? this.after : this.before);
        if (this.layout && !this.showsBefore) {
            context.imageSmoothingEnabled = false;
            context.globalAlpha = this.opacity;
            put(this.layout);
        }
        const line = this.split / 100 * width, isSplit = this.after && this.split > 0 && !this.showsBefore;
        if (isSplit) {
            context.save();
            context.globalAlpha = 1;
            context.beginPath();
            context.rect(-view.x / view.zoom, -view.y / view.zoom, line / view.zoom, height / view.zoom);
            context.clip();
            context.imageSmoothingEnabled = view.zoom < 4;
            put(this.before);
            context.restore();
        }
        if (!this.hidesPaint && !this.showsBefore) {
            context.globalAlpha = PAINT_OPACITY;
            context.imageSmoothingEnabled = false;
            put(this.paint);
        }
        context.globalAlpha = 1;
        if (this.stroke && this.tool !== 'brush') this.outline();
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        if (isSplit) this.lines(() => { context.moveTo(line, 0); context.lineTo(line, height); });
        if (this.tool === 'brush') this.drawBrush(width, height);
    }

    outline() {
        const {points} = this.stroke, [first, last] = [points[0], points.at(-1)];
        this.lines(() => {
            if (this.tool === 'rectangle') this.context.rect(...first, last[0] - first[0], last[1] - first[1]);
            else points.forEach(point => this.context.lineTo(...point));
        }, 1 / this.view.zoom);
    }

    drawBrush(width, height) {
        const at = this.cursor ?? (this.showsSize ? [width / 2, height / 2] : null);
        if (!at || this.isHeld) return;
        this.lines(() => this.context.arc(...at, Math.max(1, this.size / 2 * this.view.zoom), 0, 2 * Math.PI));
        if (!this.showsSize) return;
        const text = `${this.size} px`, {context} = this;
        context.font = '600 13px system-ui, sans-serif';
        const room = context.measureText(text).width + 14;
        context.fillStyle = 'rgba(15, 23, 42, .85)';
        context.fillRect(at[0] - room / 2, at[1] - 12, room, 24);
        context.fillStyle = '#fff';
        context.fillText(text, at[0] - room / 2 + 7, at[1] + 5);
    }

    lines(trace, unit = 1) {  // white with a black edge, visible on any image
        for (const [colour, thickness] of [['rgba(0, 0, 0, .7)', 3], ['#fff', 1.4]]) {
            this.context.beginPath();
            trace();
            Object.assign(this.context, {strokeStyle: colour, lineWidth: thickness * unit});
            this.context.stroke();
        }
    }
}
