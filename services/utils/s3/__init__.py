"""S3: objects put, found, listed, deleted and linked to; Amazon's, MinIO's or moto's. boto3 speaks to it.

client.py  signing in: boto3's client, from the settings
bucket.py  what can be done with a bucket and its objects
calls.py   one operation until it has an answer
keys.py    what objects are called
"""

from services.utils.s3.bucket import Bucket, StoredObject
from services.utils.s3.client import connect
from services.utils.s3.keys import build_key, decode_part, encode_part

__all__ = ["Bucket", "StoredObject", "build_key", "connect", "decode_part", "encode_part"]
