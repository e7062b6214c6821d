// The part that needs JavaScript: asks the browser for a passkey, then sends an ordinary form.
"use strict";

(() => {
  if (!window.PublicKeyCredential) return;

  const bytes = (text) => {
    const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(plain, (one) => one.charCodeAt(0));
  };

  const text = (buffer) => {
    const plain = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  };

  const withBytes = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const decoded = (options) => ({
    ...options,
    challenge: bytes(options.challenge),
    ...(options.user && { user: { ...options.user, id: bytes(options.user.id) } }),
    ...(options.excludeCredentials && { excludeCredentials: withBytes(options.excludeCredentials) }),
    ...(options.allowCredentials && { allowCredentials: withBytes(options.allowCredentials) }),
  });

  const encoded = (credential) => {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = text(credential.response[name]);
    }
    return JSON.stringify({
      id: credential.id,
      rawId: text(credential.rawId),
      type: credential.type,
      response,
      clientExtensionResults: {},
    });
  };

  const options = async (form) => {
    const body = new URLSearchParams({ form: form.elements.form.value });
    const answer = await fetch(form.dataset.options, { method: "POST", body });
    if (!answer.ok || answer.redirected) throw new Error("Reload the page and try again.");
    return decoded(await answer.json());
  };

  const ask = async (form) => {
    const publicKey = await options(form);
    const credential =
      form.dataset.passkey === "create"
        ? await navigator.credentials.create({ publicKey })
        : await navigator.credentials.get({ publicKey });
    form.elements.answer.value = encoded(credential);
    form.submit();
  };

  const words = (error) => {
    if (error.name === "InvalidStateError") return "This device has a passkey of yours already.";
    if (error.name === "NotAllowedError") return "The passkey was not used.";
    return error.message;
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const problem = form.querySelector(".problem");
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      problem.hidden = true;
      ask(form).catch((error) => {
        problem.textContent = words(error);
        problem.hidden = false;
      });
    });
  }
})();
