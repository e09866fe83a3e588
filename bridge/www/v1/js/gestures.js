// Right click, long press and swipe on a list of dialogues.

const LONG = 500;
const SLIP = 10; // pixels that a finger moves while it rests
const SWIPE = 60;

/** menu(target, {x, y}) opens a menu and returns whether there is one; without a point at the target. reply(target) answers. */
export function gestures(rows, {menu, reply}) {
	let touch = null; // {x, y, target, bubble, by, timer}

	function end() {
		clearTimeout(touch?.timer);
		if (touch?.bubble) touch.bubble.style.translate = '';
		touch = null;
	}

	rows.addEventListener('contextmenu', (event) => {
		const {target, clientX: x, clientY: y} = event;
		const selection = getSelection();
		// The browser's own menu is for links and selected text.
		if (!touch && (target.closest('a') || (!selection.isCollapsed && selection.containsNode(target, true)))) return;
		const byKey = event.button !== 2 && target.closest('.tools');
		if (menu(target, byKey ? undefined : {x, y})) event.preventDefault();
		end();
	});
	rows.addEventListener('pointerdown', (event) => {
		const {clientX: x, clientY: y, target} = event;
		if (event.pointerType !== 'touch' || !event.isPrimary || target.closest('.tools, .reactions, pre')) return;
		// Not every phone has contextmenu.
		touch = {x, y, target, by: 0, timer: setTimeout(() => {
			if (menu(target, {x, y})) addEventListener('click', swallow, {capture: true, once: true});
			end();
		}, LONG)};
	});
	rows.addEventListener('pointermove', ({clientX, clientY, isPrimary}) => {
		if (!touch || !isPrimary) return;
		const [dx, dy] = [clientX - touch.x, clientY - touch.y];
		if (Math.hypot(dx, dy) > SLIP) clearTimeout(touch.timer);
		if (!touch.bubble && Math.abs(dx) > SLIP && Math.abs(dx) > 2 * Math.abs(dy)) touch.bubble = touch.target.closest('.dialogue')?.querySelector('.bubble');
		touch.by = dx;
		if (touch.bubble) touch.bubble.style.translate = `${Math.sign(dx) * Math.min(Math.abs(dx), SWIPE + 12)}px`;
	});
	rows.addEventListener('pointerup', () => {
		const {bubble, by} = touch ?? {};
		end();
		if (bubble && Math.abs(by) >= SWIPE) reply(bubble);
	});
	rows.addEventListener('pointercancel', end);
}

/** The click of the finger that opened a menu. */
function swallow(event) {
	event.preventDefault();
	event.stopPropagation();
}
