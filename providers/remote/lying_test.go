package remote_test

func serveForTest() bool { return false }
