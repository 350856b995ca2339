package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/provisionhq/provision/providers"
)

// A Code is an error code of AWS and what a caller can do about it.
type Code struct {
	Code   string // exactly; with * at its end or beginning: all such
	Kind   providers.Kind
	Source string // the document that has it
}

// Where AWS documents its codes. From memory: not compared with them yet.
const (
	ec2Codes    = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
	elbCodes    = "https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/CommonErrors.html and the Errors section of each action"
	commonCodes = "https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html"
	stsCodes    = "https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html"
	iamCodes    = "https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html, API_DeleteRole.html and API_AddRoleToInstanceProfile.html"
	imdsCodes   = "https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html"
)

// Codes is the table of error codes that the calls of this package can meet. The first row that fits counts.
func Codes() []Code {
	var all []Code
	for _, t := range []struct {
		kind   providers.Kind
		source string
		codes  string
	}{
		{providers.Throttled, ec2Codes, "RequestLimitExceeded InstanceCreditExceeded SnapshotCreationPerVolumeRateExceeded"},
		{providers.Throttled, commonCodes, "Throttling ThrottlingException"},

		{providers.Capacity, ec2Codes, `InsufficientInstanceCapacity InsufficientHostCapacity InsufficientReservedInstanceCapacity InsufficientCapacity
			InsufficientAddressCapacity InsufficientVolumeCapacity InsufficientFreeAddressesInSubnet SpotMaxPriceTooLow
			InsufficientCapacityOnHost`},
		{providers.Capacity, elbCodes, "InvalidSubnet"},

		{providers.Unavailable, ec2Codes, "InternalError InternalFailure Unavailable ServiceUnavailable"},
		{providers.Unavailable, elbCodes, "HealthUnavailable TrustStoreNotReady"},
		{providers.Unavailable, commonCodes, "RequestTimeout ServiceUnavailableException"},

		{providers.Quota, ec2Codes, `InstanceLimitExceeded VcpuLimitExceeded MaxSpotInstanceCountExceeded VpcLimitExceeded SubnetLimitExceeded
			InternetGatewayLimitExceeded NatGatewayLimitExceeded AddressLimitExceeded RouteTableLimitExceeded
			RouteLimitExceeded RulesPerSecurityGroupLimitExceeded SecurityGroupLimitExceeded
			SecurityGroupsPerInstanceLimitExceeded SecurityGroupsPerInterfaceLimitExceeded VolumeLimitExceeded
			MaxIOPSLimitExceeded SnapshotLimitExceeded ConcurrentSnapshotLimitExceeded PendingSnapshotLimitExceeded
			ActiveVpcCountExceeded AttachmentLimitExceeded TagLimitExceeded NetworkInterfaceLimitExceeded
			PrivateIpAddressLimitExceeded ResourceLimitExceeded ResourceCountExceeded ResourceCountLimitExceeded
			*LimitExceeded`},
		{providers.Quota, elbCodes, `TooManyLoadBalancers TooManyTargetGroups TooManyListeners TooManyTargets TooManyRegistrationsForTargetId
			TooManyUniqueTargetGroupsPerLoadBalancer TooManyTags TooManyActions TooManyRules TooManyCertificates`},
		{providers.Quota, commonCodes, "LimitExceeded LimitExceededException ServiceQuotaExceededException"},

		{providers.Denied, ec2Codes, `UnauthorizedOperation AuthFailure Blocked PendingVerification OptInRequired InvalidClientTokenId`},
		{providers.Denied, commonCodes, `AccessDenied AccessDeniedException AccessDeniedFault UnrecognizedClientException SignatureDoesNotMatch
			IncompleteSignature MissingAuthenticationToken MissingAuthenticationTokenException ExpiredToken
			ExpiredTokenException RequestExpired TokenRefreshRequired NotAuthorized`},
		{providers.Denied, stsCodes, `InvalidIdentityToken IDPRejectedClaim IDPCommunicationError PackedPolicyTooLarge RegionDisabledException
			MalformedPolicyDocument`},

		{providers.Exists, ec2Codes, `InvalidGroup.Duplicate InvalidKeyPair.Duplicate RouteAlreadyExists InvalidPermission.Duplicate
			IdempotentParameterMismatch IdempotentInstanceTerminated`},
		{providers.Exists, elbCodes, "DuplicateLoadBalancerName DuplicateTargetGroupName DuplicateListener DuplicateTagKeys"},

		{providers.Conflict, ec2Codes, `DependencyViolation VolumeInUse InvalidGroup.InUse InvalidIPAddress.InUse InvalidNetworkInterface.InUse
			InvalidSnapshot.InUse InvalidSubnet.Conflict VolumeModificationRateExceeded Resource.AlreadyAssociated
			Resource.AlreadyAssigned Gateway.NotAttached IncorrectState IncorrectInstanceState IncorrectModificationState
			InvalidState OperationNotPermitted ConcurrentTagAccess CannotDelete DefaultSubnetAlreadyExistsInAvailabilityZone`},
		{providers.Conflict, elbCodes, "ResourceInUse PriorityInUse TargetGroupAssociationLimit"},

		{providers.Exists, iamCodes, "EntityAlreadyExists"},
		{providers.Conflict, iamCodes, "DeleteConflict UnmodifiableEntity"},
		{providers.Unavailable, iamCodes, "ConcurrentModification ServiceFailure EntityTemporarilyUnmodifiable"},

		{providers.NotFound, ec2Codes, `InvalidVpcID.NotFound InvalidSubnetID.NotFound InvalidInternetGatewayID.NotFound InvalidRouteTableID.NotFound
			InvalidRoute.NotFound InvalidGroup.NotFound InvalidSecurityGroupID.NotFound InvalidSecurityGroupRuleId.NotFound
			InvalidPermission.NotFound InvalidAllocationID.NotFound InvalidAddress.NotFound InvalidAssociationID.NotFound
			InvalidInstanceID.NotFound InvalidInstanceID InvalidAMIID.NotFound InvalidAMIID.Unavailable
			InvalidVolume.NotFound InvalidSnapshot.NotFound InvalidAttachment.NotFound InvalidNetworkInterfaceID.NotFound
			NatGatewayNotFound InvalidVpcEndpointId.NotFound InvalidKeyPair.NotFound InvalidNetworkAclID.NotFound *.NotFound`},
		{providers.NotFound, elbCodes, `LoadBalancerNotFound TargetGroupNotFound ListenerNotFound RuleNotFound SubnetNotFound AllocationIdNotFound
			AvailabilityZoneNotFound`},
		{providers.NotFound, commonCodes, "NoSuchEntity ResourceNotFoundException"},

		{providers.Unsupported, ec2Codes, `Unsupported UnsupportedOperation UnsupportedHibernationConfiguration UnsupportedHostConfiguration
			UnsupportedInstanceAttribute UnsupportedTenancy UnknownVolumeType VolumeTypeNotAvailableInZone`},
		{providers.Unsupported, elbCodes, "UnsupportedProtocol AvailabilityZoneNotSupported"},

		{providers.Invalid, ec2Codes, `InvalidParameter InvalidParameterValue InvalidParameterCombination InvalidParameterDependency
			InvalidParameterValueException MissingParameter MissingInput MalformedQueryString UnknownParameter InvalidInput
			InvalidRequest InvalidFilter InvalidNextToken InvalidPaginationToken InvalidTag InvalidTagKey.Malformed
			TagPolicyViolation InvalidCharacter InvalidFormat InvalidInterface InvalidInstanceType InvalidUserData.Malformed
			InvalidBlockDeviceMapping InvalidDevice.InUse InvalidDevice InvalidVolume.ZoneMismatch InvalidVolumeID.Duplicate
			InvalidVolumeID.ZoneMismatch InvalidSubnet.Range InvalidVpcRange InvalidAvailabilityZone
			InvalidPermission.Malformed InvalidSecurity.RequestHasExpired InvalidSecurityGroup.Malformed
			InvalidGroup.Reserved InvalidGroupId.Malformed InvalidAMIID.Malformed InvalidAMIName.Malformed
			InvalidInstanceID.Malformed InvalidVpcID.Malformed InvalidSubnetID.Malformed InvalidVolumeID.Malformed
			InvalidSnapshotID.Malformed InvalidID InvalidRegion InvalidIamInstanceProfileArn.Malformed
			InvalidVpcId.Malformed InvalidKey.Format InvalidKeyPair.Format InvalidMonitoringState
			InvalidPlacementGroup.Unknown EncryptedVolumesNotSupported NonEBSInstance InvalidSpotBidPrice
			Client.InvalidKmsKeyID InvalidDestinationCidr VPCIdNotSpecified VPCResourceNotSpecified AmbiguousRequest
			DryRunOperation GroupInNonDefaultVPC InvalidAction *.Malformed`},
		{providers.Invalid, elbCodes, `ValidationError InvalidConfigurationRequest InvalidScheme InvalidSecurityGroup InvalidTarget InvalidTargetGroup
			IncompatibleProtocols InvalidLoadBalancerAction ALPNPolicyNotFound TrustStoreNotFound SSLPolicyNotFound
			CertificateNotFound`},
		{providers.Invalid, commonCodes, "ValidationException MissingAction"},
	} {
		for _, c := range strings.Fields(t.codes) {
			all = append(all, Code{c, t.kind, t.source})
		}
	}
	return all
}

func (c Code) fits(code string) bool {
	if suffix, ok := strings.CutPrefix(c.Code, "*"); ok {
		return strings.HasSuffix(code, suffix)
	}
	return code == c.Code
}

// codeOf returns AWS's own code of an error, "" if AWS gave none.
func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// kindOf says what a caller can do about an error of the SDK; "" if it has a Kind or is a context's.
func kindOf(err error) providers.Kind {
	if err == nil || providers.KindOf(err) != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return providers.KindOf(err)
	}
	code := codeOf(err)
	exact, rest := providers.Kind(""), providers.Kind("")
	for _, c := range Codes() {
		switch {
		case code == "" || !c.fits(code):
		case c.Code == code && exact == "":
			exact = c.Kind
		case rest == "":
			rest = c.Kind
		}
	}
	var answer *awshttp.ResponseError
	var signing interface{ SigningError() bool }
	var wrong *nowhere
	switch {
	case errors.As(err, &wrong):
		return providers.Invalid
	case exact != "":
		return exact
	case rest != "":
		return rest
	case errors.As(err, &answer) && code != "" && answer.HTTPStatusCode() == http.StatusForbidden:
		return providers.Denied
	case errors.As(err, &answer) && code != "" && answer.HTTPStatusCode() < http.StatusInternalServerError:
		return providers.Invalid
	case errors.As(err, &signing), noCredentials(err):
		return providers.Denied
	}
	return providers.Unavailable
}

// noCredentials says whether the SDK's chain had none that hold, so that nothing was sent.
func noCredentials(err error) bool {
	var e *smithy.OperationError
	return errors.As(err, &e) && (strings.Contains(err.Error(), "get identity:") || strings.Contains(err.Error(), "failed to refresh cached credentials") || strings.Contains(err.Error(), "failed to sign request"))
}

// A Refusal is AWS's own words. It wraps the SDK's error.
type Refusal struct {
	Action, Code, Message string
	Request               string // AWS's ID of the request, which its support asks for
	err                   error
}

// Error says it in one line.
func (r *Refusal) Error() string {
	s := r.Action + ": " + r.Message
	if r.Code != "" {
		s = r.Action + ": " + r.Code + ": " + r.Message
	}
	if r.Request != "" {
		s += " (request " + r.Request + ")"
	}
	return s
}

// Unwrap returns the SDK's error.
func (r *Refusal) Unwrap() error { return r.err }

// kinded gives an error of the SDK its Kind and AWS's words. A context's error stays as it is.
func kinded(err error) error {
	k := kindOf(err)
	if err == nil || providers.KindOf(err) != "" || k == "" {
		return err
	}
	r := &Refusal{Message: err.Error(), err: err}
	var op *smithy.OperationError
	if errors.As(err, &op) {
		r.Action, r.Message = op.Operation(), op.Err.Error()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		r.Code, r.Message = api.ErrorCode(), api.ErrorMessage()
	}
	var wrong *nowhere
	switch {
	case errors.As(err, &wrong):
		r.Message, r.err = wrong.Error(), fmt.Errorf("%w: %w", providers.BadAttribute("region", "%s", wrong), err)
	case noCredentials(err):
		r.Message = "no credentials that hold: run aws sso login or aws configure, name a profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: " + r.Message
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		r.Request = answer.ServiceRequestID()
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

// is says whether AWS refused with one of the codes.
func is(err error, codes ...string) bool {
	for _, c := range codes {
		if codeOf(err) == c {
			return true
		}
	}
	return false
}

// gone says whether AWS does not know what was asked for.
func gone(err error) bool { return err != nil && kindOf(err) == providers.NotFound }

// ptr is short for a pointer to a value.
func ptr[T any](v T) *T { return &v }
