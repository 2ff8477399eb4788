// A picture for the demo: the bytes of a chosen file, or one frame of the camera as JPEG, sent to Python when asked to.
// Nothing is kept here, and the camera is off as soon as a picture was taken.
function button(text, action) {
  const element = document.createElement("button");
  element.className = "jupyter-button widget-button";
  element.textContent = text;
  element.addEventListener("click", action);
  return element;
}

const REASONS = {
  NotAllowedError: "The browser refused the camera. Allow it for this page, or choose a file.",
  NotFoundError: "No camera was found. Connect one, or choose a file.",
  NotReadableError: "The camera is used by another program. Close that one, or choose a file.",
};

function render({ model, el }) {
  const file = document.createElement("input");
  file.type = "file";
  file.accept = "image/*";
  file.hidden = true;
  file.addEventListener("change", send);
  const choose = button("Choose a picture (JPEG or PNG)", () => file.click());
  let stream = null;
  let closed = false;
  const video = document.createElement("video");
  video.playsInline = true;
  video.muted = true;
  video.setAttribute("aria-label", "What the camera sees");
  const open = button("Use the camera", start);
  const take = button("Take the picture", shoot);
  const close = button("Camera off", () => { stop(); open.focus(); });
  const bar = document.createElement("div");
  bar.className = "fd-input-bar";
  bar.append(choose, file, open, take, close);
  el.classList.add("fd-input");
  el.append(bar, video);
  show(false);

  function show(on) {
    open.style.display = on ? "none" : "";
    for (const part of [take, close, video]) part.style.display = on ? "" : "none";
  }

  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
    show(false);
  }

  function complain(text) {
    stop();
    model.send({ problem: text });
  }

  async function start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      complain("This browser offers no camera to this page (it must be opened on localhost or by https). Choose a file.");
      return;
    }
    open.disabled = true;
    try {
      const wanted = { video: { facingMode: "user", width: { ideal: 1280 } }, audio: false };
      stream = await navigator.mediaDevices.getUserMedia(wanted);
      if (closed) { stop(); return; }
      video.srcObject = stream;
      await video.play();
      show(true);
      take.focus();
      model.send({ ready: true });
    } catch (error) {
      complain(REASONS[error.name] ?? `The camera could not be used (${error.name}). Choose a file.`);
    } finally {
      open.disabled = false;
    }
  }

  async function send() {
    const chosen = file.files[0];
    const most = model.get("most_bytes");
    try {
      if (!chosen) return;
      if (chosen.size > most) {
        complain(`The file has ${Math.round(chosen.size / 1e6)} MB; at most ${Math.round(most / 1e6)} MB are read.`);
        return;
      }
      model.send({ picture: true }, undefined, [await chosen.arrayBuffer()]);
    } catch {
      complain("The file could not be read. Choose another one.");
    } finally {
      file.value = "";  // the same file may be chosen again
    }
  }

  function shoot() {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(async (blob) => {
      stop();
      open.focus();
      if (!blob) { complain("The camera gave no picture yet. Try again."); return; }
      model.send({ picture: true }, undefined, [await blob.arrayBuffer()]);
    }, "image/jpeg", 0.92);
  }

  return () => { closed = true; stop(); };
}

export default { render };
