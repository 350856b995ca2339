package state

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A RolledBackError says that the state is an older one than was seen: somebody has put back a copy.
type RolledBackError struct {
	Place, Cluster     string
	Have, Seen         uint64 // numbers of the last writes
	HaveTime, SeenTime time.Time
	SeenPlace          string // where the later write was seen
	Removed            bool   // the cluster had been destroyed
}

// Error tells both ages.
func (e *RolledBackError) Error() string {
	have := fmt.Sprintf("the state in %s ends with write %d, of %s", e.Place, e.Have, when(e.HaveTime))
	if e.Removed {
		return have + ", and this user has destroyed the cluster since: its state was put back from an old copy"
	}
	if e.SeenPlace != "" && e.SeenPlace != e.Place {
		return fmt.Sprintf("%s, and this user has seen write %d, of %s, in %s: that is the newer state of the same cluster, if it is still there", have, e.Seen, when(e.SeenTime), e.SeenPlace)
	}
	return fmt.Sprintf("%s, and this user has seen write %d, of %s, there: it was put back from an old copy", have, e.Seen, when(e.SeenTime))
}

func when(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}

// DiagnosticID is the diagnostic's name.
func (e *RolledBackError) DiagnosticID() string { return "state-rolled-back" }

// Advice tells what to do.
func (e *RolledBackError) Advice() (string, []string) {
	if e.SeenPlace != "" && e.SeenPlace != e.Place && !e.Removed {
		return "Go on with the newer state, in the place that is named, with --state-dir, --state or the state block. If this is the one to go on with, say so; objects that it does not know are found by their tags:", []string{"provision state accept"}
	}
	return "Put the newer state back if there still is one. If this is the one to go on with, say so; objects that it does not know are found by their tags:", []string{"provision state accept"}
}

// A PassphraseError says that a passphrase is not the right one, or cannot be asked for.
type PassphraseError struct {
	Place string
	Key   string // of an SSH key at that path, not of the state
	Wrong bool
	Empty bool
}

// Error says which.
func (e *PassphraseError) Error() string {
	switch {
	case e.Wrong && e.Key != "":
		return "the passphrase does not open the SSH key " + e.Key
	case e.Wrong:
		return "the passphrase does not open the secrets of the state in " + e.Place
	case e.Empty:
		return "the passphrase is empty"
	case e.Key != "":
		return fmt.Sprintf("the SSH key %s has a passphrase, and there is no terminal to ask for it", e.Key)
	}
	return fmt.Sprintf("the secrets of the state in %s are encrypted with a passphrase, and there is no terminal to ask for it", e.Place)
}

// DiagnosticID is the diagnostic's name.
func (e *PassphraseError) DiagnosticID() string { return "passphrase" }

// Advice tells what to do.
func (e *PassphraseError) Advice() (string, []string) {
	if e.Key != "" {
		return "Run the command on a terminal, or use a key without a passphrase.", nil
	}
	return "Without a terminal it is read from --passphrase-file, --passphrase-fd or the environment variable that --passphrase-env names. Nothing was changed.", nil
}

// A RecipientsError says that the user could not read what was about to be written.
type RecipientsError struct {
	Have []string // the user's own public keys
	To   []string
}

// Error names both.
func (e *RecipientsError) Error() string {
	have := "there is no key of yours at all"
	if len(e.Have) > 0 {
		have = "your own is " + short(e.Have)
	}
	return fmt.Sprintf("the secrets were about to be encrypted to %s, and none of these is you: %s", short(e.To), have)
}

// DiagnosticID is the diagnostic's name.
func (e *RecipientsError) DiagnosticID() string { return "key-unusable" }

// Advice tells what to do.
func (e *RecipientsError) Advice() (string, []string) {
	return "Nothing was written. Add your public key to recipients in the state block; this prints it:", []string{"provision state key"}
}

// A KeyError says that a key, or a program that has to do with keys, cannot be used.
type KeyError struct {
	What string
	Err  error
}

// Error says why. It holds nothing secret.
func (e *KeyError) Error() string {
	if e.Err == nil {
		return e.What
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// DiagnosticID is the diagnostic's name.
func (e *KeyError) DiagnosticID() string { return "key-unusable" }

// A URLError says that a state's URL cannot be used.
type URLError struct{ Why string }

// Error says why. It does not repeat the URL, which may hold what is secret.
func (e *URLError) Error() string { return "the state's URL cannot be used: " + e.Why }

// DiagnosticID is the diagnostic's name.
func (e *URLError) DiagnosticID() string { return "state-url" }

// A UIDError says that a text is not the UID of a cluster.
type UIDError struct{ UID string }

// Error names it.
func (e *UIDError) Error() string {
	return fmt.Sprintf("%q is not the UID of a cluster", cut(e.UID, 40))
}

// A StoreError says that the bucket, or what is in front of it, cannot be used.
type StoreError struct {
	Place string
	ID    string // of the diagnostic
	Err   error  // of package bucket
}

// Error tells the bucket's words.
func (e *StoreError) Error() string { return e.Err.Error() }

// Unwrap returns the error of package bucket.
func (e *StoreError) Unwrap() error { return e.Err }

// DiagnosticID is the diagnostic's name.
func (e *StoreError) DiagnosticID() string { return e.ID }

// Advice tells what to do.
func (e *StoreError) Advice() (string, []string) {
	var credentials *bucket.CredentialsError
	var region *bucket.RegionError
	switch {
	case errors.As(e.Err, &credentials):
		return credentialAdvice(credentials), nil
	case errors.As(e.Err, &region) && region.Want != "":
		return "Write region=" + region.Want + " into the URL.", nil
	case errors.As(e.Err, &region):
		return "Write the bucket's region into the URL (?region=eu-west-1), or set AWS_REGION.", nil
	case e.ID == "state-no-bucket":
		return "Look at its name. provision makes no buckets: make it, or name another one. If it was there a moment ago, somebody has removed it: what the cluster has is untouched, and without a state the next apply finds it by its tags; a new place for the state goes into the file.", nil
	case e.ID == "state-unreachable":
		return "What was written before is whole. Run the same command again when the bucket answers: it goes on where this one ended.", nil
	case e.ID == "state-denied":
		return "Give the user that permission, or choose another bucket. What was written before is whole.", nil
	}
	return "", nil
}

// credentialAdvice tells how to get credentials that are accepted.
func credentialAdvice(e *bucket.CredentialsError) string {
	const whole = " What was written before is whole: the same command goes on."
	switch e.Trouble {
	case bucket.Missing:
		return "Log in, or set them. " + e.Hint
	case bucket.Expired:
		return "Log in again, or get new ones." + whole + " " + e.Hint
	case bucket.Skewed:
		return "Set this computer's clock, best by NTP: the store takes no requests that seem to be minutes old or to come." + whole
	}
	return "They are wrong, were revoked, or are for something else. " + e.Hint + whole
}

// storeID is the diagnostic of an error of package bucket; empty if it has none.
func storeID(err error) string {
	var (
		url           *bucket.URLError
		missing       *bucket.MissingError
		denied        *bucket.DeniedError
		credentials   *bucket.CredentialsError
		region        *bucket.RegionError
		unreachable   *bucket.UnreachableError
		unknown       *bucket.UnknownError
		unconditional *bucket.UnconditionalError
	)
	switch {
	case errors.As(err, &missing):
		return "state-no-bucket"
	case errors.As(err, &region):
		return "state-region"
	case errors.As(err, &url), errors.As(err, &unconditional):
		return "state-url"
	case errors.As(err, &credentials):
		switch credentials.Trouble {
		case bucket.Missing:
			return "state-no-credentials"
		case bucket.Expired:
			return "state-expired"
		case bucket.Skewed:
			return "state-clock"
		}
		return "state-credentials"
	case errors.As(err, &denied):
		return "state-denied"
	case errors.As(err, &unreachable), errors.As(err, &unknown):
		return "state-unreachable"
	}
	return ""
}

// bucketError gives the errors of package bucket their diagnostics. Those that callers act on stay as they are.
func bucketError(place string, err error) error {
	var ours coded
	var missing *bucket.MissingError
	if err == nil || errors.As(err, &ours) {
		return err
	}
	if !errors.As(err, &missing) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, bucket.ErrChanged)) {
		return err
	}
	if id := storeID(err); id != "" {
		return &StoreError{Place: place, ID: id, Err: err}
	}
	return err
}

// short tells public keys by their beginnings; those of the longer kind all begin with the same seven characters.
func short(keys []string) string {
	cut := make([]string, len(keys))
	for i, k := range keys {
		if cut[i] = k; len(k) > 24 {
			cut[i] = k[:24] + "…"
		}
	}
	return strings.Join(cut, ", ")
}
