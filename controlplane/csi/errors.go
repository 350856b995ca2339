package csi

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/provisionhq/provision/providers"
)

// kinds is what CSI calls the kinds of errors: a column of the table in the design.
var kinds = map[providers.Kind]codes.Code{
	providers.NotFound:    codes.NotFound,
	providers.Exists:      codes.AlreadyExists,
	providers.Conflict:    codes.FailedPrecondition,
	providers.Invalid:     codes.InvalidArgument,
	providers.Denied:      codes.PermissionDenied,
	providers.Quota:       codes.ResourceExhausted,
	providers.Capacity:    codes.ResourceExhausted,
	providers.Throttled:   codes.Unavailable,
	providers.Unavailable: codes.Unavailable,
	providers.Unsupported: codes.Unimplemented,
}

// failure is a provider's error as CSI has it. The vendor's words stay: they are what a person reads in the claim's events.
func failure(err error) error {
	if err == nil {
		return nil
	}
	if code, ok := kinds[providers.KindOf(err)]; ok {
		return status.Error(code, err.Error())
	}
	// A call that was cut off by its time may still have an effect, and CSI has a code that says so.
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

// missing refuses a request without a field that must be there.
func missing(what string) error { return status.Errorf(codes.InvalidArgument, "%s is missing", what) }
