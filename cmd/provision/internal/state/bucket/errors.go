package bucket

import "fmt"

// A URLError says that a bucket's URL cannot be used.
type URLError struct {
	URL string // as given; empty where it holds what is secret
	Why string
}

// Error tells what is wrong with it.
func (e *URLError) Error() string {
	if e.URL == "" {
		return "the bucket's URL: " + e.Why
	}
	return fmt.Sprintf("the bucket's URL %s: %s", e.URL, e.Why)
}

// A MissingError says that there is no such bucket (in Azure: container, or account).
type MissingError struct {
	URL string
	Err error // the store's words
}

// Error names the bucket.
func (e *MissingError) Error() string { return fmt.Sprintf("there is no bucket %s: %v", e.URL, e.Err) }

// Unwrap returns the store's words.
func (e *MissingError) Unwrap() error { return e.Err }

// A DeniedError says that the store knows who asks and does not allow it.
type DeniedError struct {
	URL    string
	Action string // what was refused and the permission it needs, such as "read lock.json (s3:GetObject)"
	Err    error  // the store's words
}

// Error names the action.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("%s does not allow to %s: %v", e.URL, e.Action, e.Err)
}

// Unwrap returns the store's words.
func (e *DeniedError) Unwrap() error { return e.Err }

// A Trouble is what is the matter with credentials.
type Trouble int

// The troubles.
const (
	Refused Trouble = iota // the store does not know or accept them
	Missing                // there are none
	Expired                // they were good once
	Skewed                 // the clock is too far from the store's for any to be accepted
)

// A CredentialsError says that there are no credentials for the store, or that it does not accept them.
type CredentialsError struct {
	URL     string
	Hint    string // where they are looked for, as a sentence
	Trouble Trouble
	Err     error
}

// Error tells what was tried.
func (e *CredentialsError) Error() string {
	switch e.Trouble {
	case Missing:
		return fmt.Sprintf("there are no credentials for %s: %v", e.URL, e.Err)
	case Expired:
		return fmt.Sprintf("the credentials for %s have expired: %v", e.URL, e.Err)
	case Skewed:
		return fmt.Sprintf("%s accepts no request of a computer whose clock is so wrong: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("%s does not accept the credentials: %v", e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *CredentialsError) Unwrap() error { return e.Err }

// A RegionError says that the bucket is in another region than the one it was asked for in, or that none was named.
type RegionError struct {
	URL   string
	Unset bool   // none was named
	Want  string // the region that the bucket is in; empty if the store did not tell
	Err   error
}

// Error names the right region, where it is known.
func (e *RegionError) Error() string {
	if e.Unset {
		return fmt.Sprintf("nothing says which region %s is in: %v", e.URL, e.Err)
	}
	if e.Want == "" {
		return fmt.Sprintf("%s is in another region: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("%s is in the region %s: %v", e.URL, e.Want, e.Err)
}

// Unwrap returns the store's words.
func (e *RegionError) Unwrap() error { return e.Err }

// An UnreachableError says that the store did not answer, or answered that it cannot serve now, until patience was at an end.
// Nothing was changed.
type UnreachableError struct {
	URL string
	Err error // of the last try
}

// Error tells the last try's end.
func (e *UnreachableError) Error() string { return fmt.Sprintf("%s does not answer: %v", e.URL, e.Err) }

// Unwrap returns the error of the last try.
func (e *UnreachableError) Unwrap() error { return e.Err }

// An UnconditionalError says that the store takes a write whose condition does not hold. State cannot be kept there: two
// writers would overwrite one another.
type UnconditionalError struct {
	URL  string
	What string // the condition it ignores, such as "If-Match"
}

// Error names the condition.
func (e *UnconditionalError) Error() string {
	return fmt.Sprintf("%s ignores %s: it would let two writers overwrite one another", e.URL, e.What)
}

// An UnknownError says that a write or a removal was asked for and that its outcome is not known. Get tells what is there.
type UnknownError struct {
	URL string
	Op  string // "put" or "delete"
	Key string
	Err error
}

// Error names the object.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s %s in %s: whether it was done is not known: %v", e.Op, e.Key, e.URL, e.Err)
}

// Unwrap returns the error of the last try.
func (e *UnknownError) Unwrap() error { return e.Err }
