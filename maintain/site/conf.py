"""Sphinx's configuration of the site; `maintain.site.build` gives it the folder of sources."""

project = "gpt-oss on vLLM cookbook"
author = "the cookbook's authors"
copyright = "the cookbook's authors, Apache-2.0"
html_title = project
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton"]
root_doc = "index"
html_theme = "furo"
html_css_files = ["site.css"]
html_js_files = [("reach.js", {"defer": "defer"})]
html_copy_source = False
html_show_search_summary = False  # it fetches pages, which a site opened from a file may not
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "a11y-light", "a11y-dark"
nb_execution_mode = "off"  # what is shown is what ran
nb_merge_streams = True
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "attrs_block"]
copybutton_selector = "div.highlight pre"  # it renames what it selects: the builder has a button of its own
# A widget's own view has a picture or text beside it; sources without a lexer stay plain.
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure", "myst.header"]
