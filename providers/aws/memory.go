package aws

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

// memory is what this process made lately: AWS may not list it yet.
type memory struct {
	mu     sync.Mutex
	ids    map[string]remembered
	gen    map[string]int
	doubts map[string]time.Time
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

// drop forgets what is gone, and counts that it was there.
func (m *memory) drop(n providers.Noun, k providers.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.ids, noted(n, k))
	if m.gen == nil {
		m.gen = map[string]int{}
	}
	m.gen[noted(n, k)]++
}

// unanswered notes an error of a call that makes something and has no token: without an answer, it may have made it.
func (m *memory) unanswered(n providers.Noun, k providers.Key, err error) {
	if err == nil || codeOf(err) != "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doubts == nil {
		m.doubts = map[string]time.Time{}
	}
	m.doubts[noted(n, k)] = time.Now()
}

// doubtful says whether such a call was made within the time.
func (m *memory) doubtful(n providers.Noun, k providers.Key, within time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.doubts[noted(n, k)]
	return ok && time.Since(at) < within
}

// generation is how often the thing was deleted in this process, plus one.
func (m *memory) generation(n providers.Noun, k providers.Key) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gen[noted(n, k)] + 1
}
