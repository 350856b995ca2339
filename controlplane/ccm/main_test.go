package ccm

import (
	"context"
	"io"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

// TestMain makes upstream's error handler fit for simulated time: by default it remembers the moment of the last error
// in the whole process, and sleeps until a millisecond after it, which is years in another test's time.
func TestMain(m *testing.M) {
	runtime.ErrorHandlers = []runtime.ErrorHandler{func(context.Context, error, string, ...any) {}}
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}
