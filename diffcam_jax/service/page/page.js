() => {
  let timer = null;
  window.diffcamSoon = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const found = document.getElementById("edit");
      const button = found && (found.tagName === "BUTTON" ? found : found.querySelector("button"));
      if (button) button.click();
    }, 500);
  };
}
