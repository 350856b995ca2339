package awstest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

// A tree is an element of an XML document.
type tree struct {
	name     string
	space    string // xmlns, where it is declared
	text     string
	children []*tree
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

func parse(data []byte) (*tree, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	var stack []*tree
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			n := &tree{name: t.Name.Local}
			for _, a := range t.Attr {
				if a.Name.Local == "xmlns" {
					n.space = a.Value
				}
			}
			if len(stack) > 0 {
				top := stack[len(stack)-1]
				top.children = append(top.children, n)
			}
			stack = append(stack, n)
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(t)
			}
		case xml.EndElement:
			if len(stack) == 1 {
				return stack[0], nil
			}
			stack = stack[:len(stack)-1]
		}
	}
}

func (t *tree) bytes() []byte {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
	t.write(&b)
	return []byte(b.String())
}

func (t *tree) write(b *strings.Builder) {
	b.WriteString("<" + t.name)
	if t.space != "" {
		b.WriteString(` xmlns="` + escape(t.space) + `"`)
	}
	b.WriteString(">")
	if len(t.children) == 0 {
		b.WriteString(escape(t.text))
	}
	for _, c := range t.children {
		c.write(b)
	}
	b.WriteString("</" + t.name + ">")
}

// copied is the tree with lists of its own, two deep: what is split into pages is no deeper.
func (t *tree) copied() *tree {
	c := *t
	c.children = slices.Clone(t.children)
	for i, l := range c.children {
		one := *l
		one.children = slices.Clone(l.children)
		c.children[i] = &one
	}
	return &c
}

// child returns the first child of that name; nil if there is none. A nil tree has no children.
func (t *tree) child(names ...string) *tree {
	for _, name := range names {
		if t == nil {
			return nil
		}
		var found *tree
		for _, c := range t.children {
			if c.name == name {
				found = c
				break
			}
		}
		t = found
	}
	return t
}

// get returns the text of a descendant, "" if it is not there.
func (t *tree) get(names ...string) string {
	if c := t.child(names...); c != nil {
		return strings.TrimSpace(c.text)
	}
	return ""
}

// set makes the text of a descendant s, if it is there.
func (t *tree) set(s string, names ...string) {
	if c := t.child(names...); c != nil {
		c.text = s
	}
}

// items returns the elements of lists of that name.
func (t *tree) items(names ...string) []*tree {
	if c := t.child(names...); c != nil {
		return c.children
	}
	return nil
}

// each calls do for the element and all below it.
func (t *tree) each(do func(*tree)) {
	do(t)
	for _, c := range t.children {
		c.each(do)
	}
}
