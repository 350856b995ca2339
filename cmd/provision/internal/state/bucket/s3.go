package bucket

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Names of an object's metadata: what a mark is kept as. Azure takes no other characters than these.
const (
	markWrite = "provisionwrite"
	markOver  = "provisionover"
)

// s3Store is a store in Amazon S3, or one that speaks as it does.
type s3Store struct {
	api    *s3.Client
	bucket string
}

// openS3 makes an s3Store of the environment, and tells whether the endpoint is Amazon's own.
func openS3(ctx context.Context, l location) (store, bool, error) {
	q := l.query
	style, err := strconv.ParseBool(cmp.Or(q.Get("path_style"), "false"))
	if err != nil {
		return nil, false, &URLError{URL: l.url, Why: "path_style is true or false"}
	}
	options := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // one try: client counts them
		config.WithLogger(logging.Nop{}),
	}
	if v := q.Get("region"); v != "" {
		options = append(options, config.WithRegion(v))
	}
	if v := q.Get("profile"); v != "" {
		options = append(options, config.WithSharedConfigProfile(v))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, false, &CredentialsError{URL: l.url, Hint: awsChain, Trouble: Missing, Err: err}
	}
	cfg.Credentials = awsCredentials{cfg.Credentials}
	api := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = style
		if v := q.Get("endpoint"); v != "" {
			o.BaseEndpoint = &v
		}
		if o.BaseEndpoint != nil {
			// Not every store that speaks as S3 does knows the newer checksums.
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
			o.Region = cmp.Or(o.Region, "us-east-1")
		}
	})
	if api.Options().Region == "" {
		return nil, false, &RegionError{URL: l.url, Unset: true, Err: errors.New("there is no ?region= in the URL, and neither AWS_REGION nor the profile names one")}
	}
	return &s3Store{api: api, bucket: l.bucket}, api.Options().BaseEndpoint == nil, nil
}

func (s *s3Store) get(ctx context.Context, key string) (object, error) {
	out, err := s.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return object{}, s.failure(err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		return object{}, unanswered(err)
	}
	return object{body, Revision(aws.ToString(out.ETag)), mark{out.Metadata[markWrite], Revision(out.Metadata[markOver])}}, nil
}

// stat is get: the answer to a HEAD has no body, so it could not tell a missing object from a missing bucket.
func (s *s3Store) stat(ctx context.Context, key string) (object, error) { return s.get(ctx, key) }

func (s *s3Store) put(ctx context.Context, key string, o object) (Revision, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: bytes.NewReader(o.body),
		Metadata: map[string]string{markWrite: o.mark.write, markOver: string(o.mark.over)},
	}
	if o.mark.over == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(string(o.mark.over))
	}
	out, err := s.api.PutObject(ctx, in)
	if err != nil {
		return "", s.failure(err)
	}
	return Revision(aws.ToString(out.ETag)), nil
}

func (s *s3Store) remove(ctx context.Context, key string, was Revision) error {
	_, err := s.api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, IfMatch: aws.String(string(was))})
	if err != nil {
		return s.failure(err)
	}
	return nil
}

func (s *s3Store) list(ctx context.Context, prefix, page string) (keys []string, next string, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix}
	if page != "" {
		in.ContinuationToken = &page
	}
	out, err := s.api.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, "", s.failure(err)
	}
	for _, o := range out.Contents {
		keys = append(keys, aws.ToString(o.Key))
	}
	return keys, aws.ToString(out.NextContinuationToken), nil
}

// awsChain tells where credentials are looked for.
const awsChain = "AWS credentials are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile of AWS_PROFILE or of ?profile=… in ~/.aws, a web identity, or the machine's role."

func (s *s3Store) permission(op string) string {
	switch op {
	case "get":
		return "s3:GetObject on the objects, and s3:ListBucket on the bucket, without which a missing object reads as denied"
	case "put":
		return "s3:PutObject and s3:GetObject on the objects"
	case "delete":
		return "s3:DeleteObject and s3:GetObject on the objects"
	case "list":
		return "s3:ListBucket on the bucket"
	}
	return awsChain
}

func (s *s3Store) close() {
	if h, ok := s.api.Options().HTTPClient.(interface{ CloseIdleConnections() }); ok {
		h.CloseIdleConnections()
	}
}

// failure reads an error of the SDK: first S3's own code, then the status.
func (s *s3Store) failure(err error) *failure {
	if _, ok := errors.AsType[*credentialFailure](err); ok {
		return unanswered(err) // an answer in it is not the store's
	}
	if e, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return unanswered(e.Err)
	}
	answer, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || answer.Response == nil || answer.HTTPStatusCode() < 300 {
		return unanswered(err) // cut off, or what cannot be read
	}
	f := answered(answer.HTTPStatusCode(), answer.Response.Header, words(err))
	code := ""
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		code = e.ErrorCode()
	}
	region := answer.Response.Header.Get("X-Amz-Bucket-Region")
	switch code {
	case "NoSuchBucket":
		f.kind = noBucket
	case "SlowDown":
		f.kind = unheard
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "AuthFailure":
		f.kind = stranger
	case "ExpiredToken", "TokenRefreshRequired":
		f.kind, f.trouble = stranger, Expired
	case "RequestTimeTooSkewed":
		f.kind, f.trouble = stranger, Skewed
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		f.kind, f.region = wrongRegion, region
	}
	if answer.HTTPStatusCode() == http.StatusMovedPermanently {
		f.kind, f.region = wrongRegion, region
	}
	return f
}

// words are S3's own, without what the SDK puts around them.
func words(err error) error {
	var missing *types.NoSuchKey
	if e, ok := errors.AsType[smithy.APIError](err); ok && !errors.As(err, &missing) {
		return fmt.Errorf("%s: %s", e.ErrorCode(), e.ErrorMessage())
	}
	return err
}

// awsCredentials marks the errors of a source of credentials.
type awsCredentials struct{ aws.CredentialsProvider }

// Retrieve implements aws.CredentialsProvider.
func (c awsCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	found, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return found, &credentialFailure{err}
	}
	return found, nil
}
