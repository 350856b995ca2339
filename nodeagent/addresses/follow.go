package addresses

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/provisionhq/provision/nodeagent/api"
	"github.com/provisionhq/provision/templates"
)

const (
	again = time.Second // before a lost watch is taken up again, and up to twice as long: all nodes lose it at once
	watch = 5 * time.Minute
)

// An API is where the table is. *api.Client is one.
type API interface {
	Do(ctx context.Context, method, path string, body []byte, out any) error
	Stream(ctx context.Context, path string) (io.ReadCloser, error)
}

var _ API = (*api.Client)(nil)

// A configMap is the part of a ConfigMap that matters.
type configMap struct {
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
}

// table reads what the cloud agent wrote. A ConfigMap without the key is an empty table.
func (c configMap) table() (templates.Announcements, error) {
	var t templates.Announcements
	text, ok := c.Data[templates.AnnouncementsKey]
	if !ok {
		return t, nil
	}
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return t, fmt.Errorf("ConfigMap %s/%s: %w", templates.AnnouncementsNamespace, templates.AnnouncementsName, err)
	}
	return t, nil
}

// Follow calls set with the cluster's table, and again whenever it changes, until ctx ends. A table that cannot be had or read
// changes nothing; report says why, and with nil that it can be read again.
func Follow(ctx context.Context, from API, set func(templates.Announcements), report func(error)) {
	f := follower{from, set, report}
	for ctx.Err() == nil {
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.DeadlineExceeded) {
			report(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again + rand.N(again)):
		}
	}
}

type follower struct {
	from   API
	set    func(templates.Announcements)
	report func(error)
}

// path asks for the one ConfigMap that nodes may read.
func path(more url.Values) string {
	more.Set("fieldSelector", "metadata.name="+templates.AnnouncementsName)
	return "/api/v1/namespaces/" + templates.AnnouncementsNamespace + "/configmaps?" + more.Encode()
}

// once reads the table and then watches it until the watch ends.
func (f follower) once(ctx context.Context) error {
	// The server ends a watch in time; one whose server is gone and does not say so ends here.
	ctx, cancel := context.WithTimeout(ctx, watch+10*time.Second)
	defer cancel()
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []configMap
	}
	if err := f.from.Do(ctx, http.MethodGet, path(url.Values{}), nil, &list); err != nil {
		return err
	}
	var now configMap // of a cluster that has none: an empty table
	if len(list.Items) > 0 {
		now = list.Items[0]
	}
	f.take(now)
	stream, err := f.from.Stream(ctx, path(url.Values{
		"watch": {"1"}, "resourceVersion": {list.Metadata.ResourceVersion}, "timeoutSeconds": {fmt.Sprint(int(watch.Seconds()))},
	}))
	if err != nil {
		return err
	}
	defer stream.Close()
	return f.events(json.NewDecoder(stream))
}

func (f follower) events(d *json.Decoder) error {
	for {
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if err := d.Decode(&event); err != nil {
			return err
		}
		var now configMap
		switch event.Type {
		case "ERROR":
			return fmt.Errorf("watch: %.200s", event.Object)
		case "BOOKMARK":
			continue
		case "DELETED":
		default:
			if err := json.Unmarshal(event.Object, &now); err != nil {
				return err
			}
		}
		f.take(now)
	}
}

func (f follower) take(c configMap) {
	t, err := c.table()
	f.report(err)
	if err == nil {
		f.set(t)
	}
}
