package gcp

import (
	"context"
	"sync"

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
