package azuretest

import (
	"context"
	"net/http"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
)

// wire sets the handlers that all of Azure's types have in one of Microsoft's fake servers: I is the type, O… are the options of
// the SDK's methods and R… their responses, which are the documents that they hold.
func wire[I, OP, RP, OG, RG, OD, RD, OL, RL, OA, RA any](c *Cloud, kind string,
	put *func(context.Context, string, string, I, OP) (azfake.PollerResponder[RP], azfake.ErrorResponder),
	get *func(context.Context, string, string, OG) (azfake.Responder[RG], azfake.ErrorResponder),
	drop *func(context.Context, string, string, OD) (azfake.PollerResponder[RD], azfake.ErrorResponder),
	list *func(string, OL) azfake.PagerResponder[RL],
	all *func(OA) azfake.PagerResponder[RA],
) {
	*put = func(_ context.Context, group, name string, in I, _ OP) (resp azfake.PollerResponder[RP], refused azfake.ErrorResponder) {
		i, err := c.put(kind, group, name, in)
		if err == nil {
			var r RP
			if r, err = typed[RP](i.doc); err == nil {
				resp.SetTerminalResponse(http.StatusOK, r, nil)
				return resp, refused
			}
		}
		refused.SetError(err)
		return resp, refused
	}
	*get = func(_ context.Context, group, name string, _ OG) (resp azfake.Responder[RG], refused azfake.ErrorResponder) {
		i, err := c.find(kind, group, name)
		if err == nil {
			var r RG
			if r, err = typed[RG](i.doc); err == nil {
				resp.SetResponse(http.StatusOK, r, nil)
				return resp, refused
			}
		}
		refused.SetError(err)
		return resp, refused
	}
	*drop = func(_ context.Context, group, name string, _ OD) (resp azfake.PollerResponder[RD], refused azfake.ErrorResponder) {
		var none RD
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
	*list = func(group string, _ OL) azfake.PagerResponder[RL] { return listed[RL](c, kind, group) }
	*all = func(OA) azfake.PagerResponder[RA] { return listed[RA](c, kind, "") }
}

// listed is all of a kind, in one group or in all.
func listed[R any](c *Cloud, kind, group string) (resp azfake.PagerResponder[R]) {
	docs := []any{}
	for _, i := range c.sorted(kind, group) {
		docs = append(docs, i.doc)
	}
	r, err := typed[R](map[string]any{"value": docs})
	if err != nil {
		panic(err) // the store has what the type's own PUT has read
	}
	resp.AddPage(http.StatusOK, r, nil)
	return resp
}
