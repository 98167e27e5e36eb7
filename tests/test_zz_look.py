import pytest
from browser import Lab, gated
from nbformat import v4, write as written
CODE=["""import sys; sys.path.insert(0, "/tmp/w/i/tests")
import toolkit as tk
from ngram_engine import NGramEngine
e = NGramEngine("Say it: good or bad movie review mood?\\n\\nI liked it, fine. Good.\\n\\nThe movie was bad and long.")
rows = [{"t": "good movie"}, {"t": "bad movie"}]
s = tk.sweep({"short": "mood? {t}", "long": tk.Prompt("Say it: {t} review")}, rows, tk.grid(temperature=[1.0], max_tokens=12))
a = s.run(e, "mon.db"); b = s.run(e, "tue.db")""",
"""from toolkit.display.progress import Progress
bar = Progress("SmolLM2-135M-Instruct, few-shot study", 240, 0); bar.show(120, {"failed": 3, "tok/s": "310"})""",
"a + b", "(a + b).compare('run_name')", "(a+b).summary()", "tk.sweep('x', rows).run('mon.db')",
"""import socket
silent = socket.create_server(('127.0.0.1', 0))
engine = tk.connect(f'http://127.0.0.1:{silent.getsockname()[1]}/v1', model='m')
import threading, os, signal, time
threading.Thread(target=lambda: (time.sleep(3), os.kill(os.getpid(), signal.SIGINT))).start()
engine.chat('Hi')"""]
@pytest.mark.parametrize("theme",["JupyterLab Light","JupyterLab Dark"])
def test_look(tmp_path, chromium, warm_python, theme):
    path=tmp_path/"x.ipynb"
    written(v4.new_notebook(cells=[v4.new_code_cell(c, metadata={"tags":["raises-exception"]}) for c in CODE], metadata={"kernelspec":{"name":"python3","display_name":"Python 3"}}), path)
    lab=Lab(tmp_path/"lab" if (tmp_path/"lab").mkdir() is None else 0, warm_python)
    context=chromium.new_context(viewport={"width":1200,"height":1500}, reduced_motion="reduce")
    page=gated(context.new_page())
    try:
        lab.run(page,path,theme)
        page.wait_for_timeout(20000)
        for w in (1200,840,700):
            page.set_viewport_size({"width":w,"height":1800}); page.wait_for_timeout(1500)
            page.screenshot(path=f"/tmp/w/i_look_{theme[-4:].strip()}_{w}.png")
    finally:
        context.close(); lab.close()
