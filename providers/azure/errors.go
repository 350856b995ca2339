package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/provisionhq/provision/providers"
)

// errPatience is the cause of the end of a context whose operation took too long.
var errPatience = errors.New("patience")

// A Code is an error code of Azure and what a caller can do about it.
type Code struct {
	Code   string // exactly; with * at its end or beginning: all such
	Says   string // what the message must have, in small letters, for the row to count; empty: anything
	Kind   providers.Kind
	Source string // the document that has it
}

// Where Azure documents its codes. From memory: not compared with them yet.
const (
	armCodes      = "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors"
	throttleCodes = "https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling"
	vmCodes       = "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/error-messages"
	allocCodes    = "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/allocation-failure"
	quotaCodes    = "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-resource-quota"
	skuCodes      = "https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-sku-not-available"
	networkCodes  = "https://learn.microsoft.com/rest/api/virtualnetwork and https://learn.microsoft.com/rest/api/load-balancer (the body of each operation's CloudError)"
	spotCodes     = "https://learn.microsoft.com/azure/virtual-machines/error-codes-spot"
	tokenCodes    = "https://learn.microsoft.com/entra/identity-platform/reference-error-codes"
)

// Codes is the table of error codes that the calls of this package can meet. The first row that fits counts.
func Codes() []Code {
	all := []Code{
		// Azure says with one code that a quota is at its end, that something is in use, and more.
		{"OperationNotAllowed", "quota", providers.Quota, quotaCodes},
		{"OperationNotAllowed", "is attached to", providers.Conflict, vmCodes},
		{"OperationNotAllowed", "maximum number of data disks", providers.Quota, vmCodes},
		{"OperationNotAllowed", "throttl", providers.Throttled, vmCodes},
		{"InvalidParameter", "maximum number of data disks", providers.Quota, vmCodes},
		{"BadRequest", "quota", providers.Quota, quotaCodes},
		{"Conflict", "quota", providers.Quota, quotaCodes},
		{"ResourceNotFound", "", providers.NotFound, armCodes},
	}
	for _, t := range []struct {
		kind   providers.Kind
		source string
		codes  string
	}{
		{providers.Throttled, throttleCodes, "TooManyRequests SubscriptionRequestsThrottled ResourceCollectionRequestsThrottled OperationsThrottled *RequestsThrottled"},
		{providers.Throttled, vmCodes, "TooManyRequestsReceived TooManyRequestsFromSource"},

		{providers.Capacity, allocCodes, `AllocationFailed ZonalAllocationFailed OverconstrainedAllocationRequest OverconstrainedZonalAllocationRequest
			AllocationTimeout ClusterCapacityExceeded`},
		{providers.Capacity, spotCodes, "SkuNotAvailable SpotVMPriceNotMet"},
		{providers.Capacity, networkCodes, "SubnetIsFull"},

		{providers.Unavailable, armCodes, `InternalServerError InternalError ServiceUnavailable ServerTimeout GatewayTimeout ServerBusy OperationPreempted
			AnotherOperationInProgress RetryableError ReferencedResourceNotProvisioned ResourceGroupBeingDeleted NicReservedForAnotherVm`},
		{providers.Unavailable, vmCodes, `InternalExecutionError InternalOperationError InternalDiskManagementError VMStartTimedOut
			OSProvisioningTimedOut OSProvisioningClientError OSProvisioningInternalError NetworkingInternalOperationError Timeout`},

		{providers.Quota, quotaCodes, "QuotaExceeded ResourceQuotaExceeded MaxResourceCountExceeded"},
		{providers.Quota, networkCodes, `PublicIPCountLimitReached PublicIpAddressCountLimitReached NetworkSecurityGroupCountLimitReached
			VirtualNetworkCountLimitReached NetworkInterfaceCountLimitReached LoadBalancerCountLimitReached
			RuleCountLimitReached SubnetCountLimitReached *CountLimitReached *LimitExceeded`},
		{providers.Quota, armCodes, "ResourceGroupQuotaExceeded StorageAccountLimitExceeded SubscriptionResourceGroupQuotaExceeded"},
		{providers.Quota, vmCodes, "SnapshotCountExceeded"},

		{providers.Denied, armCodes, `AuthorizationFailed LinkedAuthorizationFailed AuthenticationFailed InvalidAuthenticationToken
			InvalidAuthenticationTokenTenant ExpiredAuthenticationToken AuthenticationFailedInvalidHeader RequestDisallowedByPolicy
			RequestDisallowedByAzure DisallowedOperation ScopeLocked ReadOnlyDisabledSubscription SubscriptionNotRegistered
			MissingSubscriptionRegistration DisabledSubscription SubscriptionNotFound InvalidSubscriptionId NoRegisteredProviderFound
			Forbidden MarketplacePurchaseEligibilityFailed`},
		{providers.Denied, tokenCodes, "invalid_client unauthorized_client invalid_grant"},

		{providers.Exists, vmCodes, "PreconditionFailed ConditionNotMet"},
		{providers.Exists, networkCodes, "ResourceExists"},

		{providers.Conflict, networkCodes, `InUseSubnetCannotBeDeleted InUseSubnetCannotBeUpdated InUseNetworkSecurityGroupCannotBeDeleted NicInUse
			PublicIPAddressCannotBeDeleted PublicIPAddressInUse InUseNatGatewayCannotBeDeleted
			InUseApplicationSecurityGroupCannotBeDeleted NetworkSecurityGroupCannotBeDeleted LoadBalancerInUse
			InUseVirtualNetworkCannotBeDeleted NetcfgSubnetRangesOverlap VnetAddressSpacesOverlap SecurityRuleConflict
			PrivateIPAddressInUse PrivateIPAddressIsAllocated InUse*CannotBeDeleted`},
		{providers.Conflict, vmCodes, "AttachDiskWhileBeingDetached DiskBlobAlreadyInUseByAnotherDisk ConflictingUserInput PropertyChangeNotAllowed DiskInUse"},
		{providers.Conflict, armCodes, "Conflict InvalidResourceGroupLocation InvalidResourceLocation ResourceGroupDeletionBlocked CannotDeleteResource"},

		{providers.NotFound, armCodes, `NotFound ResourceGroupNotFound ParentResourceNotFound ResourceNotFoundInRegion`},
		{providers.NotFound, vmCodes, "DiskNotFound SnapshotNotFound"},

		{providers.Unsupported, armCodes, "NotSupported UnsupportedApiVersion FeatureNotSupported"},

		{providers.Invalid, armCodes, `BadRequest InvalidParameter InvalidRequestContent InvalidRequestFormat InvalidRequestPropertyValue InvalidTagName
			InvalidTagNameCharacters InvalidTagNameLength InvalidTagValueLength DuplicateTagName InvalidTemplate InvalidResourceName InvalidResourceNamespace
			InvalidResourceType InvalidApiVersionParameter InvalidResourceReference LinkedInvalidPropertyId LocationRequired
			LocationNotAvailableForResourceType InvalidLocation PropertyRequired ReservedResourceName ResourceGroupNameInvalid
			InvalidResourceGroup InvalidJson MissingApiVersionParameter MultipleErrorsOccurred`},
		{providers.Invalid, vmCodes, `PlatformImageNotFound ImageNotFound VMSizeNotSupported OperationNotSupported InvalidVMSize InvalidAccountType
			AvailabilityZoneNotSupported ResourceTypeNotSupportAvailabilityZones DiskSizeTooSmall OSDiskAlreadyExists
			VMMarketplaceInvalidInput VMImageNotFound NicCountExceedsVmSize RequestedSizeNotAvailable InvalidDiskSize`},
		{providers.Invalid, skuCodes, "InvalidTemplateDeployment"},
		{providers.Invalid, networkCodes, `NetcfgInvalidSubnet NetcfgInvalidVirtualNetworkSite InvalidAddressPrefixFormat InvalidCIDRNotation
			PrivateIPAddressNotInSubnet PrivateIPAddressInReservedRange SecurityRuleInvalidAddressPrefix
			SecurityRuleInvalidPortRange SecurityRuleParameterContainsUnsupportedValue SubnetNotInSameVnet
			RulesUseSameBackendPortProtocolAndPool RulesUseSameFrontendPortProtocolAndIPConfig ZonesNotAllowedForResource
			InvalidJsonReferenceWrongType`},
	} {
		for _, c := range strings.Fields(t.codes) {
			all = append(all, Code{c, "", t.kind, t.source})
		}
	}
	return append(all, Code{"OperationNotAllowed", "", providers.Conflict, vmCodes})
}

func (c Code) fits(code, message string) bool {
	if !strings.Contains(strings.ToLower(message), c.Says) {
		return false
	}
	if before, after, wild := strings.Cut(c.Code, "*"); wild {
		return strings.HasPrefix(code, before) && strings.HasSuffix(code, after)
	}
	return code == c.Code
}

// A Refusal is Azure's own words. It wraps the SDK's error.
type Refusal struct {
	Code, Message string
	Status        int
	Request       string // Azure's ID of the request, which its support asks for
	service       string // that was asked, as Azure names it: Microsoft.Compute; empty if it is not known
	err           error
}

// unregistered are the codes of a subscription that has never used a service: somebody has to register it, once.
var unregistered = []string{"MissingSubscriptionRegistration", "NoRegisteredProviderFound", "SubscriptionNotRegistered"}

// Error says it in one line.
func (r *Refusal) Error() string {
	s := r.Message
	if r.Code != "" {
		s = strings.TrimSuffix(r.Code+": "+r.Message, ": ")
	}
	if r.Request != "" {
		s += " (request " + r.Request + ")"
	}
	return s
}

// Unwrap returns the SDK's error.
func (r *Refusal) Unwrap() error { return r.err }

// body is what Azure answers when it refuses, and what the end of an operation that failed says.
type body struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Details []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"details"`
	} `json:"error"`
}

// refusal returns Azure's words in an error of the SDK; nil if Azure did not answer.
func refusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		return nil
	}
	r = &Refusal{Code: e.ErrorCode, Status: e.StatusCode, err: err}
	if e.RawResponse == nil {
		return r
	}
	r.Request = e.RawResponse.Header.Get("x-ms-request-id")
	if q := e.RawResponse.Request; q != nil && q.URL != nil {
		r.service = serviceIn(q.URL.Path)
	}
	if e.RawResponse.Body == nil {
		return r
	}
	var b body
	if text, err := io.ReadAll(e.RawResponse.Body); err == nil { // the SDK has read it and put it back
		e.RawResponse.Body = io.NopCloser(strings.NewReader(string(text)))
		if json.Unmarshal(text, &b) == nil {
			r.Message = strings.Join(strings.Fields(b.Error.Message), " ")
			for _, d := range b.Error.Details {
				if d.Code != "" && d.Code != r.Code {
					r.Message = strings.TrimSpace(r.Message + " " + d.Code + ": " + strings.Join(strings.Fields(d.Message), " "))
				}
			}
			if r.Code == "" || r.Code == "DeploymentFailed" {
				r.Code = b.Error.Code
			}
		}
	}
	return r
}

// serviceIn is the service that a resource's path is of: the last one that it names.
func serviceIn(path string) string {
	all := regexp.MustCompile(`(?i)/providers/(microsoft\.[a-z]+)`).FindAllStringSubmatch(path, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}

// An Unregistered is that the subscription does not know a service yet. It knows what to do about it.
type Unregistered struct{ *Refusal }

// DiagnosticID is what a person reads of it: the account is not let in, before anything else can be wrong.
func (Unregistered) DiagnosticID() string { return "vendor-denied" }

// Advice says how the service is registered.
func (u Unregistered) Advice() (string, []string) {
	return "The subscription has to know the service first, unless it is the location that does not have it. Register it, which takes a minute or two, and run the same command again:",
		[]string{"az provider register --namespace " + cmp.Or(u.service, "Microsoft.Compute") + " --wait"}
}

// Unwrap returns Azure's words.
func (u Unregistered) Unwrap() error { return u.Refusal }

// codeOf returns Azure's own code of an error, "" if Azure gave none.
func codeOf(err error) string {
	if r := refusal(err); r != nil {
		return r.Code
	}
	return ""
}

// kindOf says what a caller can do about an error of the SDK; "" if it is a context's.
func kindOf(err error) providers.Kind {
	if err == nil || providers.KindOf(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return providers.KindOf(err)
	}
	var login *azidentity.AuthenticationFailedError
	if errors.As(err, &login) || unidentified(err) {
		return providers.Denied
	}
	r := refusal(err)
	if r == nil {
		return providers.Unavailable
	}
	for _, c := range Codes() {
		if c.fits(r.Code, r.Message) {
			return c.Kind
		}
	}
	switch {
	case r.Status == http.StatusTooManyRequests:
		return providers.Throttled
	case r.Status == http.StatusNotFound:
		return providers.NotFound
	case r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden:
		return providers.Denied
	case r.Status == http.StatusConflict:
		return providers.Conflict
	case r.Status == http.StatusPreconditionFailed:
		return providers.Exists
	case r.Status >= http.StatusBadRequest && r.Status < http.StatusInternalServerError:
		return providers.Invalid
	}
	return providers.Unavailable
}

// unidentified says whether the SDK's chain had no credentials at all, so that nothing was sent.
func unidentified(err error) bool {
	return strings.Contains(err.Error(), "failed to acquire a token") || strings.Contains(err.Error(), "DefaultAzureCredential:")
}

// A stranger is that the SDK's chain of credentials had none that hold.
type stranger struct{ err error }

// Error says what to do, and what the chain tried, without the answers of servers that it quotes whole.
func (s *stranger) Error() string {
	var tried []string
	for l := range strings.Lines(s.err.Error()) {
		if l = strings.TrimSpace(l); strings.Contains(l, "Credential") && !strings.HasPrefix(l, "DefaultAzureCredential") {
			tried = append(tried, strings.TrimRight(l, ". "))
		}
	}
	said := "no credentials that hold: run az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
	if len(tried) > 0 {
		said += ": " + strings.Join(tried, "; ")
	}
	return said
}

// Unwrap returns the SDK's error.
func (s *stranger) Unwrap() error { return s.err }

// kinded gives an error of the SDK its Kind and Azure's words, and its word on when to try again. A context's error stays as it is.
func kinded(err error) error {
	k := kindOf(err)
	if err == nil || providers.KindOf(err) != "" || k == "" {
		return err
	}
	r := refusal(err)
	switch {
	case r == nil && unidentified(err):
		return fmt.Errorf("%w: %w", k, &stranger{err})
	case r == nil:
		return fmt.Errorf("%w: %w", k, err)
	case slices.Contains(unregistered, r.Code):
		return fmt.Errorf("%w: %w", k, Unregistered{r})
	}
	var e *azcore.ResponseError
	if errors.As(err, &e) && e.RawResponse != nil && k.Retryable() {
		if s, err := strconv.Atoi(e.RawResponse.Header.Get("Retry-After")); err == nil && s > 0 {
			return fmt.Errorf("%w: %w: %w", k, r, providers.RetryAfter{After: time.Duration(s) * time.Second})
		}
	}
	return fmt.Errorf("%w: %w", k, r)
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

// is says whether Azure refused with one of the codes.
func is(err error, codes ...string) bool {
	if err == nil {
		return false
	}
	for _, c := range codes {
		if codeOf(err) == c {
			return true
		}
	}
	return false
}

// gone says whether Azure does not know what was asked for.
func gone(err error) bool { return err != nil && kindOf(err) == providers.NotFound }

// ignoring returns the error unless it says that something is not there.
func ignoring(err error) error {
	if gone(err) {
		return nil
	}
	return err
}

// ptr is short for a pointer to a value.
func ptr[T any](v T) *T { return &v }

// val is what a pointer leads to; the zero value if it leads nowhere.
func val[T any](p *T) (v T) {
	if p != nil {
		return *p
	}
	return v
}
