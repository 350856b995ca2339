package main

import (
	"testing"
	"time"
)

func TestHowOld(t *testing.T) {
	now := time.Date(2026, 11, 23, 20, 0, 0, 0, time.FixedZone("", -8*3600)) // the 24th already
	for date, want := range map[string]string{
		"2026-11-24": ", 0 days old", "2026-11-23": ", 1 day old", "2025-11-24": ", 365 days old", "2027-01-01": ", 0 days old", "": "", "November": "",
	} {
		if got := howOld(date, now); got != want {
			t.Errorf("howOld(%q) = %q, want %q", date, got, want)
		}
	}
}
