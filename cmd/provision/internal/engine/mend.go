package engine

import "github.com/provisionhq/provision/cmd/provision/internal/diag"

// mend says what to do about what a vendor answered to a step, before the command is run again.
func mend(id diag.ID) string {
	switch id {
	case diag.NameTaken:
		return "Somebody else's object has the name: rename or remove that one, or give the cluster another name. "
	case diag.InUse:
		return "Find out with the vendor's own tools what uses it, most often something that was made there by hand, and remove that. "
	case diag.NotAccepted, diag.Unsupported:
		return "Change what the file asks for there. "
	case diag.PermissionMissing:
		return "Give the permission to the one whose credentials are used. "
	case diag.QuotaExceeded:
		return "Ask the vendor for more, remove what is not needed, or lower a count in the file. "
	case diag.OutOfCapacity:
		return "Choose another type or zone, or wait. "
	case diag.VendorNotAnswering:
		return "See whether this machine reaches the vendor, and what the vendor's status page says. "
	}
	return "Mend the cause. "
}

// mendLook says what to do about what a vendor answered when it was only asked what there is.
func mendLook(id diag.ID) string {
	switch id {
	case diag.VendorDenied:
		return "See who you are for the vendor, whether the credentials still hold, and whether account and region are those that you mean. "
	case diag.VendorNotAnswering:
		return "See whether this machine reaches the vendor, whether region and endpoint of the block are right, and what the vendor's status page says. "
	}
	return "See whether the region, and what else the block says, exists for this account. "
}
