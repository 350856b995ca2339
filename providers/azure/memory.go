package azure

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

// keys lets one call at a time work on the thing of a key.
type keys struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits for its turn or the end of the context.
func (k *keys) lock(ctx context.Context, n providers.Noun, what string) (unlock func(), err error) {
	key := string(n) + " " + what
	for {
		k.mu.Lock()
		if k.held == nil {
			k.held = map[string]chan struct{}{}
		}
		busy, ok := k.held[key]
		if !ok {
			mine := make(chan struct{})
			k.held[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				defer k.mu.Unlock()
				delete(k.held, key)
				close(mine)
			}, ctx.Err()
		}
		k.mu.Unlock()
		select {
		case <-ctx.Done():
			return func() {}, ctx.Err()
		case <-busy:
		}
	}
}

// memory is what this process made lately: Azure may not list it yet.
type memory struct {
	mu  sync.Mutex
	ids map[string]remembered
}

type remembered struct {
	id string
	at time.Time
}

func noted(n providers.Noun, k providers.Key) string { return fmt.Sprintf("%s %s", n, k) }

// note remembers the ID of what was made.
func (m *memory) note(n providers.Noun, k providers.Key, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil {
		m.ids = map[string]remembered{}
	}
	m.ids[noted(n, k)] = remembered{id, time.Now()}
}

// recent returns the ID of what was made within the time; "" if there is none.
func (m *memory) recent(n providers.Noun, k providers.Key, within time.Duration) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r, ok := m.ids[noted(n, k)]; ok && time.Since(r.at) < within {
		return r.id
	}
	return ""
}

// drop forgets what is gone.
func (m *memory) drop(n providers.Noun, k providers.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ids, noted(n, k))
}
