#!/bin/sh
# SeaweedFS with two identities: the platform's, which may do everything, and the API's, which reads the store and
# writes served events and requests to erase a person. api_policy.json says the same to AWS and to Ceph.
set -eu
umask 077
cat >/tmp/s3.json <<JSON
{
  "identities": [
    {
      "name": "platform",
      "credentials": [{"accessKey": "$S3_ACCESS_KEY", "secretKey": "$S3_SECRET_KEY"}],
      "actions": ["Admin", "Read", "Write", "List", "Tagging"]
    },
    {
      "name": "api",
      "credentials": [{"accessKey": "$S3_API_ACCESS_KEY", "secretKey": "$S3_API_SECRET_KEY"}],
      "actions": [
        "List:$RECSYS_BUCKET",
        "Read:$RECSYS_BUCKET/store/*",
        "Write:$RECSYS_BUCKET/store/erasures/requests/*",
        "Write:$RECSYS_BUCKET/landing/served/*"
      ]
    }
  ]
}
JSON
exec weed mini -dir=/data -ip=s3 -ip.bind=0.0.0.0 -s3.config=/tmp/s3.json -s3.iam=false \
    -master.telemetry=false -webdav=false -admin.ui=false
