package providers

import "testing"

// TestHealthScheme: an API server that is asked in clear answers 400, and a vendor takes it for ill.
func TestHealthScheme(t *testing.T) {
	for want, ports := range map[string][]BalancerPort{
		"https": {{Port: 80, TargetPort: 6443}, {TargetPort: 80, HealthPort: 8443}, {TargetPort: 443}},
		"http":  {{Port: 443, TargetPort: 30080}, {TargetPort: 6443, HealthPort: 10256}},
	} {
		for _, p := range ports {
			if got := p.HealthScheme(); got != want {
				t.Errorf("%+v: %s, want %s", p, got, want)
			}
		}
	}
}
