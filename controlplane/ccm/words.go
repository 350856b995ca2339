package ccm

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/cloud-provider/api"

	"github.com/provisionhq/provision/providers"
)

// words are what a person reads of each Kind, and whether it passes by itself.
func words() map[providers.Kind]string {
	return map[providers.Kind]string{
		providers.NotFound:    "something that the balancer stands on is gone at the vendor",
		providers.Exists:      "the vendor has another balancer of this name",
		providers.Conflict:    "the vendor says that it is in use or taken",
		providers.Invalid:     "the vendor does not accept this",
		providers.Denied:      "the cloud agent lacks a permission at the vendor; it goes on when it has it",
		providers.Quota:       "a quota of the account at the vendor is used up; it goes on when there is room",
		providers.Capacity:    "the vendor has no room for it now; it is tried again",
		providers.Throttled:   "the vendor asks for fewer calls; it is tried again",
		providers.Unavailable: "the vendor does not answer; it is tried again",
		providers.Unsupported: "the vendor's balancers cannot do this",
	}
}

// told is the vendor's error in words for the Service's events. The vendor's own word on when to come back is passed on;
// else upstream waits longer each time, up to five minutes.
func told(err error) error {
	if err == nil {
		return nil
	}
	text := words()[providers.KindOf(err)]
	if text == "" {
		return err
	}
	err = fmt.Errorf("%s: %w", text, err)
	var wait providers.RetryAfter
	if errors.As(err, &wait) && wait.After > 0 {
		return &retried{err, api.NewRetryError(err.Error(), max(wait.After, soonest))}
	}
	return err
}

// soonest is the first wait of upstream's own, too.
const soonest = 5 * time.Second

// retried is an error that upstream comes back to after a time.
type retried struct {
	error
	retry *api.RetryError
}

func (r *retried) Unwrap() []error { return []error{r.error, r.retry} }
