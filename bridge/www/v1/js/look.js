// Runs before the first paint: applies the look that the user chose in the settings, which localStorage has as
// {theme, size, language, details}. This is no module, since a module would run after the first paint.

(() => {
	const root = document.documentElement;
	const meta = document.querySelectorAll('meta[name=theme-color]');
	const usual = [...meta].map(({content}) => content);

	function apply() {
		let look = {};
		try {
			look = JSON.parse(localStorage.getItem('imctl.look')) ?? {};
		} catch { /* use the defaults */ }
		const {theme, size, language} = look;
		Object.entries({theme, size, language}).forEach(([key, value]) => {
			if (value) root.dataset[key] = value;
			else delete root.dataset[key];
		});
		// Chromium does not notice that a new text size changes what em means in container queries.
		for (const one of document.querySelectorAll('#app, dialog')) {
			one.style.containerType = 'normal';
			void one.offsetWidth;
			one.style.containerType = '';
		}
		meta.forEach((one, i) => { one.content = usual[{light: 0, dark: 1}[theme] ?? i]; });
	}
	apply();
	addEventListener('look', apply); // the settings changed it
	addEventListener('storage', apply); // another tab did

	// Safari's keyboard covers the page instead of resizing it. A zoomed page has a small viewport, too.
	const {visualViewport: view} = window;
	view?.addEventListener('resize', () => {
		const covered = view.scale === 1 && view.height < innerHeight - 1;
		root.style.setProperty('--height', covered ? `${view.height}px` : '100%');
		if (covered) scrollTo(0, 0);
	});
})();
