"""The style of the page, on the theme's own variables; where Voila has only a light theme, a dark one on request."""

from pathlib import Path

# What JupyterLab's dark theme sets. Voila's page follows the reader's system by these, unless a theme was asked for.
_DARK = {
    **{f"--jp-layout-color{i}": c for i, c in enumerate(("#111111", "#161616", "#2a2a2a", "#3d3d3d", "#525252"))},
    **{f"--jp-inverse-layout-color{i}": "#ffffff" for i in range(5)},
    **{f"--jp-{kind}-font-color{i}": c for kind in ("ui", "content")
       for i, c in enumerate(("#ffffff", "#ececec", "#c8c8c8", "#9a9a9a"))},
    **{f"--jp-border-color{i}": c for i, c in enumerate(("#777777", "#6b6b6b", "#4a4a4a", "#333333"))},
    **{f"--jp-brand-color{i}": c for i, c in enumerate(("#82b1ff", "#5c9dff", "#3d6db5", "#264a80"))},
    "--jp-cell-editor-background": "#1b1b1b", "--jp-content-link-color": "#82b1ff",
    "--jp-widgets-color": "#ececec", "--jp-widgets-label-color": "#ececec", "--jp-widgets-readout-color": "#ececec",
    "--jp-widgets-input-color": "#ececec", "--jp-widgets-input-background-color": "#1b1b1b",
    "--jp-widgets-input-border-color": "#777777", "--jp-widgets-slider-border-color": "#777777",
    "--jp-rendermime-table-row-background": "#1b1b1b", "--jp-rendermime-table-row-hover-background": "#263a55",
}  # fmt: skip

# A slider's handle takes the keyboard but has no name of its own: it gets that of the label beside it. A canvas would
# take the keyboard and swallow every key, Tab too; the lists beside it do the same work, so it takes none.
NAMES = """
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
"""
FOLLOW_SYSTEM = '@media (prefers-color-scheme: dark) { body[data-voila][data-jp-theme-light="true"] { %s } }'
FILE = Path(__file__).resolve().parent / "assets" / "page.css"


def sheet() -> str:
    """The style sheet as a piece of HTML."""
    dark = "; ".join(f"{name}: {value}" for name, value in _DARK.items())
    dark += "; background: var(--jp-layout-color0); color-scheme: dark"
    return f"<style>{FILE.read_text(encoding='utf-8')}{FOLLOW_SYSTEM % dark}</style>"
