// The mask: one byte per pixel, 1 where it is missing. Boxes are [left, top, right, bottom], right and bottom excluded.

const MOST_PIXELS = 1 << 24;  // of a mask; a larger image has a coarser one

class Mask {
    constructor(width, height) {
        Object.assign(this, {width, height, data: new Uint8Array(width * height)});
    }

    static of({width, height}) {  // an empty mask for an image
        const fine = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
        return new Mask(Math.max(1, Math.round(width * fine)), Math.max(1, Math.round(height * fine)));
    }

    get box() { return [0, 0, this.width, this.height]; }

    clip([left, top, right, bottom]) {
        return [Math.max(0, Math.floor(left)), Math.max(0, Math.floor(top)),
            Math.min(this.width, Math.ceil(right)), Math.min(this.height, Math.ceil(bottom))];
    }

    // Run lengths, starting with known pixels; small enough to store with every step of the history.
    runs() {
        const {data} = this, runs = [];
        for (let at = 0, value = 0; at < data.length; value = 1 - value) {
            const next = data.indexOf(1 - value, at), end = next < 0 ? data.length : next;
            runs.push(end - at);
            at = end;
        }
        return Uint32Array.from(runs);
    }

    restore(runs) {
        let at = 0;
        runs.forEach((length, index) => this.data.fill(index % 2, at, at += length));
    }

    differs(data) {
        for (let at = 0; at < data.length; at++) if (data[at] !== this.data[at]) return true;
        return false;
    }

    count() {
        return this.runs().reduce((sum, length, index) => sum + (index % 2 ? length : 0), 0);
    }

    // Sets the pixels whose centres are at most `radius` from the segment between two points, and the one at its end.
    line(from, to, radius, value) {
        const [[x0, y0], [x1, y1]] = [from, to], dx = x1 - x0, dy = y1 - y0, square = dx * dx + dy * dy || 1;
        const box = this.clip([Math.min(x0, x1) - radius - 1, Math.min(y0, y1) - radius - 1,
            Math.max(x0, x1) + radius + 1, Math.max(y0, y1) + radius + 1]);
        for (let y = box[1]; y < box[3]; y++) {
            for (let x = box[0]; x < box[2]; x++) {
                const px = x + 0.5 - x0, py = y + 0.5 - y0;
                const along = Math.min(1, Math.max(0, (px * dx + py * dy) / square));
                const ex = px - along * dx, ey = py - along * dy;
                if (ex * ex + ey * ey <= radius * radius) this.data[y * this.width + x] = value;
            }
        }
        const x = Math.floor(x1), y = Math.floor(y1);
        if (x >= 0 && y >= 0 && x < this.width && y < this.height) this.data[y * this.width + x] = value;
        return box;
    }

    // Fills a polygon by the even-odd rule, along the middle of each row.
    polygon(points, value) {
        const box = this.clip([0, Math.min(...points.map(p => p[1])), this.width, Math.max(...points.map(p => p[1]))]);
        for (let y = box[1]; y < box[3]; y++) {
            const crossings = [];
            points.forEach(([x0, y0], index) => {
                const [x1, y1] = points[(index + 1) % points.length];
                if ((y0 <= y + 0.5) !== (y1 <= y + 0.5)) crossings.push(x0 + (y + 0.5 - y0) * (x1 - x0) / (y1 - y0));
            });
            crossings.sort((a, b) => a - b);
            for (let pair = 0; pair + 1 < crossings.length; pair += 2) {
                const [left, , right] = this.clip([Math.round(crossings[pair]), y, Math.round(crossings[pair + 1]), y]);
                if (right > left) this.data.fill(value, y * this.width + left, y * this.width + right);
            }
        }
        return box;
    }

    // Grows the mask by a number of pixels, or shrinks it if negative. Growing marks the pixels whose centres are at most
    // so far from a marked one's. Shrinking grows the known pixels in the same way; outside the image there are none.
    grow(pixels) {
        const {width, height, data} = this, value = pixels > 0 ? 1 : 0, radius = Math.abs(pixels), old = data.slice();
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
                const at = y * width + x;
                if (old[at] !== value) continue;
                const inner = x && x < width - 1 && y && y < height - 1 && old[at - 1] === value
                    && old[at + 1] === value && old[at - width] === value && old[at + width] === value;
                if (inner) continue;  // pixels at the border of their region reach as far
                for (let row = Math.max(0, y - radius); row <= Math.min(height - 1, y + radius); row++) {
                    const half = Math.floor(Math.sqrt(radius * radius - (row - y) * (row - y)));
                    data.fill(value, row * width + Math.max(0, x - half), row * width + Math.min(width, x + half + 1));
                }
            }
        }
    }

    // A canvas with a box of the mask, white on black.
    canvas([left, top, right, bottom] = this.box) {
        const canvas = document.createElement('canvas'), pixels = new ImageData(right - left, bottom - top);
        const words = new Uint32Array(pixels.data.buffer);
        let to = 0;
        for (let y = top; y < bottom; y++)
            for (let from = y * this.width + left; from < y * this.width + right; from++, to++)
                words[to] = this.data[from] ? 0xffffffff : 0xff000000;
        [canvas.width, canvas.height] = [right - left, bottom - top];
        canvas.getContext('2d', {alpha: false}).putImageData(pixels, 0, 0);
        return canvas;
    }

    // Reads a white-on-black image of any size, without mixing pixels.
    read(image) {
        const canvas = new OffscreenCanvas(this.width, this.height), context = canvas.getContext('2d');
        context.imageSmoothingEnabled = false;
        context.drawImage(image, 0, 0, this.width, this.height);
        const words = new Uint32Array(context.getImageData(0, 0, this.width, this.height).data.buffer);
        for (let at = 0; at < words.length; at++) this.data[at] = (words[at] & 0xff) >> 7;
    }
}
