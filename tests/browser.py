"""Widgets in a real browser. `Mounted` puts a widget's own JavaScript on a page and connects it to its own Python
object: only the messages between them do not go through Jupyter. `Lab` is JupyterLab itself."""

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import fork_server
import playwright.sync_api
import pytest

ROOT = Path(__file__).parents[1]
FEW_SHOT_AXES = ROOT / "runs" / "widgets"
"""Screenshots, for people to look at."""
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
HERE = ("http://localhost", "http://127.0.0.1", "http://widget.test", "file:", "data:", "blob:")
HOSTILE = {
    "script": "<script>window.PWNED = 1</script>",
    "image": "<img src=x onerror='window.PWNED = 1'>",
    "closing": "</pre></table></div></script></textarea><svg onload='window.PWNED = 1'>",
    "attribute": '" onmouseover="window.PWNED = 1" x=\'',
    "link": "[a](javascript:window.PWNED=1) <a href='javascript:window.PWNED=1'>b</a>",
    "override": "left \u202e right to left \u2066 isolated",
    "controls": "nul \x00, bell \x07, ansi \x1b[31mred\x1b[0m, del \x7f",
    "line": "long" * 250_000,
    "surrogate": "half \ud83d of a pair",
}
"""What a model may write, and no view may be moved by."""
LIGHT = {
    "--jp-layout-color1": "#fff", "--jp-layout-color2": "#eee", "--jp-ui-font-color1": "#000000de",
    "--jp-ui-font-color2": "#0000008a", "--jp-border-color1": "#bdbdbd", "--jp-brand-color1": "#1976d2",
    "--jp-error-color1": "#d32f2f", "--jp-ui-inverse-font-color0": "#fff",
}  # fmt: skip
DARK = {
    "--jp-layout-color1": "#212121", "--jp-layout-color2": "#424242", "--jp-ui-font-color1": "#ffffffde",
    "--jp-ui-font-color2": "#ffffff8a", "--jp-border-color1": "#616161", "--jp-brand-color1": "#2196f3",
    "--jp-error-color1": "#f44336", "--jp-ui-inverse-font-color0": "#000",
}  # fmt: skip
"""JupyterLab's own values of the variables that the styles read."""
PAGE = """<!doctype html><meta charset=utf-8><style>%s</style><style>:root { %s }
body { background: var(--jp-layout-color1); }</style><body data-jp-theme-light=%s>
<div id=host></div><script type=module>
const heard = [], state = %s;
const model = {
  get: (name) => state[name], on: (name, f) => heard.push([name, f]),
  off: (name, f) => heard.splice(heard.findIndex((one) => one[0] === name && one[1] === f), 1),
  send: (content) => {
    if (window.gone) throw new Error("Cannot send"); // as Lab does, of a kernel that is gone
    window.toPython(content).then(deliver);
  },
};
const tell = (name, given) => heard.filter((one) => one[0] === name).forEach((one) => one[1](given));
const deliver = (said) => said.forEach((one) => {
  if (!("trait" in one)) return tell("msg:custom", one);
  state.content = one.trait;
  tell("change:content");
});
setInterval(async () => deliver(await window.fromPython()), 40);
const module = (await import("/widget.js")).default;
window.again = () => module.render({ model, el: document.body.appendChild(document.createElement("div")) });
window.remove = await module.render({ model, el: document.getElementById("host") });
window.ready = true;
</script>"""


def executable():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def launch(started):
    return started.chromium.launch(executable_path=executable(), args=FLAGS)


def gated(page):
    """A page that reaches nothing but this machine. `refused`: what it wanted elsewhere; `errors`: of its scripts."""
    page.refused, page.errors = [], []

    def gate(route):
        if route.request.url.startswith(HERE):
            route.fallback()
        else:
            page.refused.append(route.request.url)
            route.abort()

    page.route("**/*", gate)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.set_default_timeout(20_000)
    return page


def mount(page, widget, theme="light"):
    """The page with the widget on it, drawn. `window.again()` draws it a second time, `window.remove()` ends the
    first; with `window.gone` there is no kernel any more."""
    said = queue.SimpleQueue()
    widget.send = lambda content, buffers=None: said.put(json.loads(json.dumps(content, allow_nan=False)))
    widget.observe(lambda change: widget.send({"trait": change.new}), "content")

    def drained():
        found = []
        while not said.empty():
            found.append(said.get())
        return found

    def to_python(content):
        widget._on_message(widget, content, [])
        return drained()

    page.expose_function("toPython", to_python)
    page.expose_function("fromPython", drained)
    variables = ";".join(f"{k}:{v}" for k, v in (LIGHT if theme == "light" else DARK).items())
    state = json.dumps({"content": widget.content}, allow_nan=False).replace("<", "\\u003c")
    text = PAGE % (widget._css, variables, str(theme == "light").lower(), state)
    page.route("http://widget.test/", lambda route: route.fulfill(body=text, content_type="text/html"))
    page.route(
        "http://widget.test/widget.js",
        lambda route: route.fulfill(body=str(widget._esm), content_type="text/javascript; charset=utf-8"),
    )
    page.goto("http://widget.test/")
    try:
        page.wait_for_function("window.ready")
    except playwright.sync_api.TimeoutError:
        pytest.fail(f"the widget was not drawn: {page.errors}")
    return page


def shot(page, name):
    """A picture of the widget, to look at."""
    FEW_SHOT_AXES.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(150)
    page.screenshot(path=FEW_SHOT_AXES / f"{name}.png", full_page=True)


def unharmed(page, within=1300):
    """Nothing that a model wrote was run, asked for or drawn outside its place."""
    assert page.evaluate("window.PWNED") is None
    assert page.errors == []
    assert page.refused == []
    assert page.evaluate("document.documentElement.scrollWidth") <= within
    assert page.evaluate(SPELT) == []


SPELT = """() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walk.nextNode())
    if (/^(null|undefined|false|NaN|\\[object .*)$/.test(walk.currentNode.data))
      found.push(walk.currentNode.parentNode.outerHTML);
  return found;
}"""
"""Nothings of JavaScript that are drawn as words."""


def static(page, widget):
    """The form without a kernel, on a page of its own, as nbconvert would show it."""
    page.set_content(f"<!doctype html><meta charset=utf-8><body>{widget.html()}</body>")
    return page


class Lab:
    """JupyterLab, or Notebook 7 (app="notebook"), with a folder of notebooks of its own."""

    def __init__(self, folder, python, app="jupyterlab"):
        """python: starts the kernels."""
        self.folder = folder
        self._place = {"jupyterlab": "doc/tree", "notebook": "notebooks"}[app]
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        self._settings(python)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        kinds = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
        own = {"IPYTHONDIR": folder / "ipython", "JUPYTERLAB_SETTINGS_DIR": folder / "settings"}
        env = {**os.environ, **kinds, **{k: str(v) for k, v in own.items()}, "PYTHONPATH": str(ROOT)}
        command = [
            sys.executable, "-m", app, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={self.notebooks}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly",
        ]  # fmt: skip
        self._log = (folder / "server.log").open("w")
        self._process = subprocess.Popen(command, env=env, stdout=self._log, stderr=self._log)
        self._wait()

    def _settings(self, python):
        """No news, no updates; all cells are drawn, not only those in sight."""
        fork_server.kernel(python, self.folder / "DATA")
        settings = {
            "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
            "notebook-extension/tracker": {"windowingMode": "none"},
            "docmanager-extension/plugin": {"autosave": False},
        }
        for name, value in settings.items():
            file = self.folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        # Notebook takes this from a file only.
        config = self.folder / "CONFIG" / "jupyter_notebook_config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"JupyterNotebookApp": {"expose_app_in_browser": True}}))

    def _wait(self):
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/api", timeout=2)
                return
            except OSError:
                time.sleep(0.1)
        pytest.fail((self.folder / "server.log").read_text()[-3000:])

    def run(self, page, path, theme="JupyterLab Light"):
        """A notebook, opened, with every cell run."""
        shutil.copy(path, self.notebooks / path.name)
        page.goto(f"{self.url}/{self._place}/{path.name}")
        session = "[...jupyterapp.shell.widgets('main')][0]?.sessionContext"
        page.wait_for_function(
            "() => window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell') && "
            f"{session}?.session?.kernel?.status === 'idle'",
            timeout=60_000,
        )
        page.evaluate(f"() => jupyterapp.commands.execute('apputils:change-theme', {{theme: '{theme}'}})")
        page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
        return page

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
