package bucket

import "context"

// Open returns the bucket that a URL names:
//
//	s3://BUCKET/PREFIX?region=R&profile=P&endpoint=URL&path_style=true
//	gs://BUCKET/PREFIX?endpoint=URL
//	azblob://CONTAINER/PREFIX?account=A&endpoint=URL
//	mem://
//
// The prefix may be empty. Credentials come from the vendor's own chain (environment, its files, the machine's identity) and
// never from the URL: one that holds any is refused with a URLError. It asks the store one question, so that what is wrong is
// said now: a MissingError, DeniedError, RegionError, CredentialsError or UnreachableError.
func Open(ctx context.Context, url string) (Bucket, error) { return Opener{}.Open(ctx, url) }
