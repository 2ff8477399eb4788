// A slider's handle takes the keyboard but has no name of its own: it gets that of the label beside it. A canvas would
// take the keyboard and swallow every key, Tab too; the lists beside it do the same work, so it takes none.
const CANVASES = {
  'fd-pad': 'Drawing pad for mouse or finger; the list beside it writes a digit by keyboard',
  'fd-map': 'Map of features, a point an image; the list above selects points by keyboard',
};
const name = () => {
  document.querySelectorAll('.fd-page .widget-hslider').forEach(slider => {
    const label = slider.querySelector('label, .widget-label');
    slider.querySelectorAll('[role=slider], .widget-readout').forEach(part => {
      if (label && !part.ariaLabel) part.ariaLabel = label.innerText;
    });
  });
  for (const [kind, words] of Object.entries(CANVASES)) {
    document.querySelectorAll(`canvas.${kind}[tabindex], .${kind} canvas[tabindex]`).forEach(canvas => {
      canvas.removeAttribute('tabindex');
      canvas.setAttribute('role', 'img');
      canvas.ariaLabel = words;
    });
  }
};
new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
name();
