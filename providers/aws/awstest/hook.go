package awstest

import "net/http"

// A Hook stands between the proxy and moto, as hardware stands behind AWS's API: package cmd/cloud-box has real machines there. It
// is given each request that takes effect, so not one that is repeated with its client token; it may change the form, and
// returns what the client gets: mostly what ask returns, which is moto's answer, with changes. Hooks run side by side.
type Hook func(r *Request, ask func() *Answer) *Answer

// An Answer is what a client gets. One with a Code is a refusal.
type Answer struct {
	Code, Message string
	Tree          Tree // of one without a Code

	is answer
}

// Refuse is an answer with AWS's error code.
func Refuse(code, message string) *Answer { return &Answer{Code: code, Message: message} }

// hooked lets the hook take part, if there is one.
func (c *Cloud) hooked(r *Request, ask func() (*tree, answer)) (*tree, answer) {
	c.mu.Lock()
	hook := c.options.Hook
	c.mu.Unlock()
	if hook == nil {
		return ask()
	}
	out := hook(r, func() *Answer {
		t, a := ask()
		if t == nil && a.code == "" {
			a.code = "InternalError" // no document at all
		}
		return &Answer{Code: a.code, Tree: Tree{t}, is: a}
	})
	switch {
	case out.Code == "":
		return out.Tree.t, out.is
	case out.is.code == "":
		return nil, c.refusal(r, http.StatusBadRequest, out.Code, out.Message)
	}
	return nil, out.is
}

// A Tree is an element of an answer. The zero Tree has nothing.
type Tree struct{ t *tree }

// Name is the element's.
func (t Tree) Name() string { return t.t.name }

// Get returns the text of a descendant, "" if it is not there.
func (t Tree) Get(names ...string) string { return t.t.get(names...) }

// Set makes the text of a descendant s. What is missing on the way is made.
func (t Tree) Set(s string, names ...string) {
	at := t.t
	for _, name := range names {
		next := at.child(name)
		if next == nil {
			next = &tree{name: name}
			at.children = append(at.children, next)
		}
		at = next
	}
	at.text = s
}

// Each calls do for the element and all below it.
func (t Tree) Each(do func(Tree)) { t.t.each(func(n *tree) { do(Tree{n}) }) }
