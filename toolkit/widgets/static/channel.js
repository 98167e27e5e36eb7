// The messages between a view in the browser and its widget in Python (toolkit/widgets/base.py):
//   request       { id, command, arguments } → { reply_to: id, value } or { reply_to: id, error }
//   notification  { event, value }

const REPLY_TIMEOUT = 4000; // milliseconds without a reply, after which the view says so
const NO_REPLY =
  "The kernel does not answer. While it is busy, wait; when it does not run, start it and run this cell again.";

// The anywidget module for a function that renders: draw({ root, content, request, on, signal }).
//   request(command, arguments)  a promise of what the Python method command(**arguments) returns
//   on(event, handler)           handler(value) when Python calls notify(event, value); on("content", handler) when it
//                                replaces its content
//   signal                       aborted when the view is removed
function widget(draw) {
  return {
    async render({ model, el }) {
      const removal = new AbortController();
      const root = h("div", { class: "tk" });
      // JupyterLab's shortcuts ("a" adds a cell, "d d" deletes one) match any focused element without this attribute.
      // It must be on that element: Lab searches upwards from it, and its selector matches before it reaches root.
      root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
      const notice = h("p", { class: "tk-silence", role: "status" });
      root.append(notice);
      el.append(root);
      const { request, on } = channel(model, removal.signal, (text) => (notice.textContent = text));
      await draw({ root, content: model.get("content"), request, on, signal: removal.signal });
      return () => removal.abort();
    },
  };
}

function channel(model, signal, showNotice) {
  const pending = new Map(), handlers = new Map();
  // Every view of a widget receives all messages: each recognizes the replies to its own requests.
  const view = Math.random().toString(36).slice(2);
  let requests = 0;
  const receive = (message) => {
    showNotice("");
    if ("event" in message) return handlers.get(message.event)?.(message.value);
    const call = pending.get(message.reply_to);
    if (!call) return;
    pending.delete(message.reply_to);
    clearTimeout(call.timer);
    if ("error" in message) call.reject(new Error(message.error));
    else call.resolve(message.value);
  };
  const receiveContent = () => handlers.get("content")?.(model.get("content"));
  model.on("msg:custom", receive);
  model.on("change:content", receiveContent);
  signal.addEventListener("abort", () => {
    model.off("msg:custom", receive);
    model.off("change:content", receiveContent);
  });
  const request = (command, args = {}) =>
    new Promise((resolve, reject) => {
      const id = `${view}-${++requests}`;
      const timer = setTimeout(() => showNotice(NO_REPLY), REPLY_TIMEOUT);
      pending.set(id, { resolve, reject, timer });
      try {
        model.send({ id, command, arguments: args });
      } catch { // JupyterLab throws at once when the kernel is gone
        clearTimeout(timer);
        showNotice(NO_REPLY);
      }
    });
  return { request, on: (event, handler) => handlers.set(event, handler) };
}

// Runs f once the calls have paused for some milliseconds.
function debounce(f, pause = 120) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => f(...values), pause);
  };
}

// An asynchronous f of which only the last call's result, or error, is delivered.
function latest(f) {
  let last = 0;
  return async (...values) => {
    const call = ++last;
    try {
      const result = await f(...values);
      if (call === last) return result;
    } catch (error) {
      if (call === last) throw error;
    }
    return new Promise(() => {});
  };
}
