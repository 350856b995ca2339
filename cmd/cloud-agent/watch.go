package main

import (
	"bytes"
	"context"
	"os"
	"time"

	"k8s.io/klog/v2"
)

// watchEvery is how often the file is looked at. It is small, and an apply writes it seldom.
const watchEvery = 2 * time.Second

// watch returns when the file's content is another one, or the context ends. A file that is not there, or half
// written, is not another one: it is looked at again.
func watch(ctx context.Context, path string, content []byte) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := os.ReadFile(path)
		if err == nil && len(now) > 0 && !bytes.Equal(now, content) {
			klog.InfoS("The file has changed: ending, to be started with it", "path", path)
			return
		}
	}
}
