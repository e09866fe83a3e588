// Encodes a text as a QR code (ISO/IEC 18004): byte mode, error correction level M, versions 1 to 15.

// For each version: codewords for error correction in a block, and blocks.
const CORRECTION = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10];
const MASKS = [
	(x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3, (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
	(x, y) => ((x * y) % 2) + ((x * y) % 3), (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** Rows of booleans, true for dark. Throws RangeError if the text is too long. */
export function encode(text) {
	const bytes = new TextEncoder().encode(text);
	const version = CORRECTION.findIndex((_, i) => dataCodewords(i + 1) * 8 >= 4 + (i + 1 < 10 ? 8 : 16) + bytes.length * 8) + 1;
	if (!version) throw new RangeError('the text is too long for a QR code');
	const codewords = interleaved(dataOf(bytes, version), version);
	const [best] = MASKS.map((_, mask) => drawn(version, codewords, mask)).map((rows) => ({rows, penalty: penalty(rows)})).sort((a, b) => a.penalty - b.penalty);
	return best.rows;
}

/** The codewords of a version, with those for error correction. */
function allCodewords(version) {
	const count = Math.floor(version / 7) + 2;
	const modules = (16 * version + 128) * version + 64 - (version > 1 ? (25 * count - 10) * count - 55 : 0) - (version > 6 ? 36 : 0);
	return Math.floor(modules / 8);
}

const dataCodewords = (version) => allCodewords(version) - CORRECTION[version - 1] * BLOCKS[version - 1];

function dataOf(bytes, version) {
	const bits = [];
	const put = (value, length) => { for (let i = length - 1; i >= 0; i--) bits.push((value >> i) & 1); };
	const room = dataCodewords(version) * 8;
	put(4, 4);
	put(bytes.length, version < 10 ? 8 : 16);
	for (const byte of bytes) put(byte, 8);
	put(0, Math.min(4, room - bits.length));
	put(0, -bits.length & 7);
	for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) put(pad, 8);
	return Array.from({length: room / 8}, (_, i) => bits.slice(i * 8, i * 8 + 8).reduce((sum, bit) => sum * 2 + bit, 0));
}

/** Multiplies in the field of 256 elements. */
function times(a, b) {
	let product = 0;
	for (let i = 7; i >= 0; i--) product = (product << 1) ^ ((product >> 7) * 0x11d) ^ (((b >> i) & 1) * a);
	return product;
}

/** The remainder of Reed-Solomon. */
function correction(data, degree) {
	let divisor = [1];
	for (let i = 0, root = 1; i < degree; i++, root = times(root, 2)) {
		divisor = [...divisor, 0].map((factor, j) => factor ^ (j ? times(divisor[j - 1], root) : 0));
	}
	const rest = [...data, ...Array(degree).fill(0)];
	data.forEach((_, i) => {
		const factor = rest[i];
		divisor.forEach((one, j) => { rest[i + j] ^= times(one, factor); });
	});
	return rest.slice(data.length);
}

function interleaved(data, version) {
	const count = BLOCKS[version - 1];
	const short = Math.floor(data.length / count);
	let from = 0;
	const blocks = Array.from({length: count}, (_, i) => data.slice(from, from += short + (i >= count - (data.length % count))));
	const column = (lists) => Array.from({length: Math.max(...lists.map((list) => list.length))}, (_, i) => lists.map((list) => list[i])).flat().filter((one) => one !== undefined);
	return [...column(blocks), ...column(blocks.map((block) => correction(block, CORRECTION[version - 1])))];
}

function drawn(version, codewords, mask) {
	const size = version * 4 + 17;
	const rows = Array.from({length: size}, () => Array(size).fill(null));
	const set = (x, y, dark) => { if (rows[y]?.[x] !== undefined) rows[y][x] = Boolean(dark); };

	// The three finders with their light edges, the alignment patterns, and the timing between them.
	for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
		for (let i = -4; i <= 4; i++) for (let j = -4; j <= 4; j++) set(x + i, y + j, ![2, 4].includes(Math.max(Math.abs(i), Math.abs(j))));
	}
	const count = Math.floor(version / 7) + 2;
	const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2;
	const places = version > 1 ? [6, ...Array.from({length: count - 1}, (_, i) => size - 7 - (count - 2 - i) * step)] : [];
	for (const x of places) {
		for (const y of places) {
			if (rows[y][x] !== null) continue; // a finder
			for (let i = -2; i <= 2; i++) for (let j = -2; j <= 2; j++) set(x + i, y + j, Math.max(Math.abs(i), Math.abs(j)) !== 1);
		}
	}
	for (let i = 8; i < size - 8; i++) {
		set(6, i, i % 2 === 0);
		set(i, 6, i % 2 === 0);
	}

	// Level M is 0. Both texts have a code of their own against errors.
	const format = ((mask << 10) | remainder(mask, 10, 0x537)) ^ 0x5412;
	for (let i = 0; i < 15; i++) {
		const dark = (format >> i) & 1;
		set(...(i < 6 ? [8, i] : i < 8 ? [8, i + 1] : i === 8 ? [7, 8] : [14 - i, 8]), dark);
		set(...(i < 8 ? [size - 1 - i, 8] : [8, size - 15 + i]), dark);
	}
	set(8, size - 8, true);
	const versions = (version << 12) | remainder(version, 12, 0x1f25);
	for (let i = 0; version > 6 && i < 18; i++) {
		const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
		set(a, b, (versions >> i) & 1);
		set(b, a, (versions >> i) & 1);
	}

	// The codewords, in pairs of columns from the right, up and down in turn.
	let bit = 0;
	for (let right = size - 1; right > 0; right -= right === 8 ? 3 : 2) {
		const up = ((right + (right < 7 ? 2 : 1)) & 2) === 0;
		for (let i = 0; i < size; i++) {
			const y = up ? size - 1 - i : i;
			for (const x of [right, right - 1]) {
				if (rows[y][x] !== null) continue;
				rows[y][x] = Boolean((codewords[bit >> 3] >> (7 - (bit & 7))) & 1) !== (MASKS[mask](x, y) === 0);
				bit++;
			}
		}
	}
	return rows;
}

function remainder(value, degree, divisor) {
	let rest = value;
	for (let i = 0; i < degree; i++) rest = (rest << 1) ^ ((rest >> (degree - 1)) * divisor);
	return rest;
}

/** How hard a code is to read. */
function penalty(rows) {
	const columns = rows.map((_, x) => rows.map((row) => row[x]));
	let sum = 0;
	for (const line of [...rows, ...columns].map((row) => row.map(Number).join(''))) {
		for (const [run] of line.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
		sum += 40 * [...line.matchAll(/(?=10111010000|00001011101)/g)].length;
	}
	rows.forEach((row, y) => row.forEach((dark, x) => {
		if (rows[y + 1]?.[x] === dark && row[x + 1] === dark && rows[y + 1][x + 1] === dark) sum += 3;
	}));
	const share = rows.flat().filter(Boolean).length / rows.length ** 2;
	return sum + 10 * Math.floor(Math.abs(share - 0.5) * 20);
}
