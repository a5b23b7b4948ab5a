// What the theme leaves out for those who read without a mouse or by ear: wide blocks get the focus, so that keys scroll
// them; the sidebar's headings get a level, the two sidebars a name.
document.querySelectorAll("pre, .table-wrapper, .output").forEach((block) => { block.tabIndex = 0; });
document.querySelectorAll(".caption[role=heading]").forEach((heading) => { heading.ariaLevel = "2"; });
document.querySelectorAll("aside").forEach((side) => {
  side.setAttribute("aria-label", side.classList.contains("toc-drawer") ? "On this page" : "All pages");
});
