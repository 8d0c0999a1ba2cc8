"""What runs inside an installed Windows, through the guest agent of its VM."""
