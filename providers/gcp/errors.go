package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/googleapi"

	"github.com/provisionhq/provision/providers"
)

// A Code is a reason that Google gives for a refusal, or a code of an operation that failed, and what a caller can do about it.
type Code struct {
	Code   string
	Kind   providers.Kind
	Source string // the document that has it
}

// Where Google documents its codes. From memory: not compared with them yet.
const (
	apiCodes       = "https://cloud.google.com/apis/docs/errors and https://developers.google.com/webmaster-tools/v1/errors (reasons by domain)"
	computeCodes   = "https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation"
	resourceCodes  = "https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability"
	quotaCodes     = "https://cloud.google.com/compute/resource-usage and https://cloud.google.com/compute/api-quota"
	operationCodes = "https://cloud.google.com/compute/docs/api/how-tos/api-requests-responses (operations' error.errors[].code)"
	tokenCodes     = "https://cloud.google.com/docs/authentication/troubleshoot-adc"
)

// Codes is the table of reasons and codes that the calls of this package can meet: reasons are of the answer to a request,
// codes, in capitals, of an operation that fails later.
func Codes() []Code {
	var all []Code
	for _, t := range []struct {
		kind   providers.Kind
		source string
		codes  string
	}{
		{providers.Throttled, apiCodes, "rateLimitExceeded userRateLimitExceeded"},
		{providers.Throttled, quotaCodes, "RATE_LIMIT_EXCEEDED resourceOperationRateExceeded RESOURCE_OPERATION_RATE_EXCEEDED operationQuotaExceeded"},

		{providers.Capacity, resourceCodes, `ZONE_RESOURCE_POOL_EXHAUSTED ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS
			REGION_RESOURCE_POOL_EXHAUSTED resourcePoolExhausted RESOURCE_POOL_EXHAUSTED STOCKOUT`},
		{providers.Capacity, computeCodes, "IP_SPACE_EXHAUSTED IP_SPACE_EXHAUSTED_WITH_DETAILS"},

		{providers.Quota, quotaCodes, `quotaExceeded QUOTA_EXCEEDED limitExceeded LIMIT_EXCEEDED dailyLimitExceeded
			CPUS_ALL_REGIONS_QUOTA_EXCEEDED`},

		{providers.Denied, apiCodes, `forbidden insufficientPermissions accessNotConfigured required authError
			SERVICE_DISABLED IAM_PERMISSION_DENIED`},
		{providers.Denied, operationCodes, "PERMISSIONS_ERROR PERMISSION_DENIED"},
		{providers.Denied, quotaCodes, "billingNotEnabled"},
		{providers.Denied, tokenCodes, "invalid_grant invalid_client unauthorized_client access_denied"},

		{providers.NotFound, apiCodes, "notFound"},
		{providers.NotFound, operationCodes, "RESOURCE_NOT_FOUND"},

		{providers.Exists, apiCodes, "alreadyExists duplicate"},
		{providers.Exists, operationCodes, "RESOURCE_ALREADY_EXISTS"},

		{providers.Conflict, computeCodes, `resourceInUseByAnotherResource RESOURCE_IN_USE_BY_ANOTHER_RESOURCE
			RESOURCE_IN_USE resourceInUse`},
		{providers.Conflict, apiCodes, "conditionNotMet conflict"},
		{providers.Conflict, operationCodes, "INSTANCE_ALREADY_STOPPING INVALID_STATE NETWORK_NOT_READY CONDITION_NOT_MET"},

		{providers.Unavailable, computeCodes, "resourceNotReady RESOURCE_NOT_READY"},
		{providers.Unavailable, apiCodes, "backendError internalError serviceUnavailable"},
		{providers.Unavailable, operationCodes, `INTERNAL_ERROR BACKEND_ERROR OPERATION_CANCELED_BY_USER OPERATION_TIMED_OUT
			VM_MIN_COUNT_NOT_REACHED`},

		{providers.Unsupported, operationCodes, "UNSUPPORTED_OPERATION"},

		{providers.Invalid, apiCodes, "invalid badRequest parseError invalidParameter invalidArgument malformedRequest fieldNotSupported"},
		{providers.Invalid, operationCodes, "INVALID_FIELD_VALUE INVALID_USAGE INVALID_ARGUMENT UNSUPPORTED_FIELD"},
	} {
		for _, c := range strings.Fields(t.codes) {
			all = append(all, Code{c, t.kind, t.source})
		}
	}
	return all
}

// codeOf returns Google's own reason or code of an error, "" if there is none.
func codeOf(err error) string {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	var e *googleapi.Error
	if errors.As(err, &e) && len(e.Errors) > 0 {
		return e.Errors[0].Reason
	}
	return ""
}

// statusOf returns the HTTP status that Google gave, 0 if it gave none.
func statusOf(err error) int {
	var r *Refusal
	if errors.As(err, &r) && r.status != 0 {
		return r.status
	}
	var e *googleapi.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// kindOf says what a caller can do about an error of the client; "" if it is a context's.
func kindOf(err error) providers.Kind {
	if err == nil || providers.KindOf(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return providers.KindOf(err)
	}
	code, status := codeOf(err), statusOf(err)
	for _, c := range Codes() {
		if c.Code == code {
			return c.Kind
		}
	}
	switch {
	case status == http.StatusNotFound:
		return providers.NotFound
	case status == http.StatusTooManyRequests:
		return providers.Throttled
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return providers.Denied
	case status == http.StatusConflict, status == http.StatusPreconditionFailed:
		return providers.Conflict
	case status >= 400 && status < 500:
		return providers.Invalid
	case strings.Contains(err.Error(), "oauth2:"), strings.Contains(err.Error(), "cannot fetch token"):
		return providers.Denied
	}
	return providers.Unavailable
}

// A Refusal is Google's own words: of the answer to a request, or of an operation that failed.
type Refusal struct {
	Code, Message string
	Operation     string // name of the operation, which Google's support asks for; empty if there was none
	Request       string // Google's ID of the request that it refused; empty if it gave none
	status        int
	err           error // the client's, if the request was refused
}

// Error says it in one line.
func (r *Refusal) Error() string {
	s := r.Message
	if r.Code != "" {
		s = r.Code + ": " + r.Message
	}
	if r.Operation != "" {
		s += " (operation " + r.Operation + ")"
	}
	if r.Request != "" {
		s += " (request " + r.Request + ")"
	}
	return s
}

// Unwrap returns the client's error.
func (r *Refusal) Unwrap() error { return r.err }

// kinded gives an error of the client its Kind and Google's words. A context's error stays as it is.
func kinded(err error) error {
	k := kindOf(err)
	var nobody *stranger
	if errors.As(err, &nobody) {
		return nobody // without the request that it was for, which was not made
	}
	if err == nil || providers.KindOf(err) != "" || k == "" {
		return err
	}
	var r *Refusal
	if !errors.As(err, &r) {
		r = &Refusal{Code: codeOf(err), Message: err.Error(), status: statusOf(err), err: err}
		var e *googleapi.Error
		if errors.As(err, &e) {
			r.Message, r.Request = strings.TrimSpace(e.Message), requestOf(e.Details, e.Header)
		}
	}
	if after := retryAfter(err); after > 0 && k.Retryable() {
		return fmt.Errorf("%w: %w: %w", k, providers.RetryAfter{After: after}, r)
	}
	return fmt.Errorf("%w: %w", k, r)
}

// retryAfter is Google's own word on when to try again; 0 if there is none.
func retryAfter(err error) time.Duration {
	var e *googleapi.Error
	if !errors.As(err, &e) || e.Header == nil {
		return 0
	}
	s, _ := strconv.Atoi(e.Header.Get("Retry-After"))
	return time.Duration(s) * time.Second
}

// fail returns an error of the kind that says in words what happened.
func fail(k providers.Kind, format string, args ...any) error {
	return fmt.Errorf("%w: %w", k, fmt.Errorf(format, args...))
}

// about adds the operation and the object to err, and a Kind if it has none.
func about(verb providers.Verb, noun providers.Noun, object string, err *error) {
	if *err != nil {
		*err = fmt.Errorf("%s %s %s: %w", verb, noun, object, kinded(*err))
	}
}

// is says whether Google refused with one of the codes.
func is(err error, codes ...string) bool {
	for _, c := range codes {
		if err != nil && codeOf(err) == c {
			return true
		}
	}
	return false
}

// gone says whether Google does not know what was asked for.
func gone(err error) bool { return err != nil && kindOf(err) == providers.NotFound }

// taken says whether there is a thing of the name already.
func taken(err error) bool { return err != nil && kindOf(err) == providers.Exists }

// stale says whether a thing was changed since it was read, so that a change with its fingerprint was refused.
func stale(err error) bool {
	return is(err, "conditionNotMet", "CONDITION_NOT_MET") || statusOf(err) == http.StatusPreconditionFailed
}

// ignoring drops an error that says that there is nothing of the name.
func ignoring(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

// ptr is short for a pointer to a value.
func ptr[T any](v T) *T { return &v }
