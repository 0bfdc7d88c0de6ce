"""A page as a parser sees it."""

from html.parser import HTMLParser

VOID_TAGS = {"meta", "link", "img", "input", "line", "polyline", "circle"}


class Page(HTMLParser):
    """Elements, ids, attributes and texts of a page; unbalanced tags are errors."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.elements, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, text):
        self.texts.append((self.open[-1] if self.open else "", text))

    def inside(self, tag):
        return [text for name, text in self.texts if name == tag]
