package azuretest

import (
	"context"
	"net/http"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
)

// The handlers that all of Azure's types have, for Microsoft's fake servers: I is the type, O the options of the SDK's method
// and R its response, which wrap makes.

func putter[I, O, R any](c *Cloud, kind string, wrap func(I) R) func(context.Context, string, string, I, O) (azfake.PollerResponder[R], azfake.ErrorResponder) {
	return func(_ context.Context, group, name string, in I, _ O) (resp azfake.PollerResponder[R], refused azfake.ErrorResponder) {
		i, err := c.put(kind, group, name, in)
		if err == nil {
			var v I
			if v, err = typed[I](i.doc); err == nil {
				resp.SetTerminalResponse(http.StatusOK, wrap(v), nil)
				return resp, refused
			}
		}
		refused.SetError(err)
		return resp, refused
	}
}

func getter[I, O, R any](c *Cloud, kind string, wrap func(I) R) func(context.Context, string, string, O) (azfake.Responder[R], azfake.ErrorResponder) {
	return func(_ context.Context, group, name string, _ O) (resp azfake.Responder[R], refused azfake.ErrorResponder) {
		i, err := c.find(kind, group, name)
		if err == nil {
			var v I
			if v, err = typed[I](i.doc); err == nil {
				resp.SetResponse(http.StatusOK, wrap(v), nil)
				return resp, refused
			}
		}
		refused.SetError(err)
		return resp, refused
	}
}

func deleter[O, R any](c *Cloud, kind string) func(context.Context, string, string, O) (azfake.PollerResponder[R], azfake.ErrorResponder) {
	return func(_ context.Context, group, name string, _ O) (resp azfake.PollerResponder[R], refused azfake.ErrorResponder) {
		var none R
		there, err := c.remove(kind, group, name)
		switch {
		case err != nil:
			refused.SetError(err)
		case there:
			resp.SetTerminalResponse(http.StatusOK, none, nil)
		default:
			resp.SetTerminalResponse(http.StatusNoContent, none, nil)
		}
		return resp, refused
	}
}

func lister[I, O, R any](c *Cloud, kind string, wrap func([]*I) R) func(string, O) azfake.PagerResponder[R] {
	return func(group string, _ O) azfake.PagerResponder[R] { return listed(c, kind, group, wrap) }
}

func everyone[I, O, R any](c *Cloud, kind string, wrap func([]*I) R) func(O) azfake.PagerResponder[R] {
	return func(O) azfake.PagerResponder[R] { return listed(c, kind, "", wrap) }
}

func listed[I, R any](c *Cloud, kind, group string, wrap func([]*I) R) (resp azfake.PagerResponder[R]) {
	found, err := c.sorted(kind, group)
	all := []*I{}
	for _, i := range found {
		v, e := typed[I](i.doc)
		if e != nil {
			err = e
		}
		all = append(all, &v)
	}
	if err != nil {
		resp.AddError(err)
		return resp
	}
	resp.AddPage(http.StatusOK, wrap(all), nil)
	return resp
}
