package bootstrap

import "context"

// join gives the machine the credentials that its kubelet joins with. It is done when the kubelet has credentials of its
// own: those to join with are used once.
func join() Phase {
	return Phase{
		Name: "join",
		Done: func(ctx context.Context, t *Target) (bool, error) {
			f, err := t.gatherNode(ctx)
			if err != nil {
				return false, err
			}
			return f.Joined, nil
		},
		Do: doConfigure,
	}
}
